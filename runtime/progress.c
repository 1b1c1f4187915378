// What a person sees while a run goes on.
#include "train.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.2

double rt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void rt_progress_init(struct rt_progress *p, FILE *f, FILE *warnings, int64_t epochs, int64_t first) {
    *p = (struct rt_progress){.f = f,
                              .warnings = warnings,
                              .terminal = f && isatty(fileno(f)),
                              .started = rt_now(),
                              .epochs = epochs,
                              .first = first};
}

void rt_duration_text(double s, char *buf, size_t n) {
    long long t = s > 0 && s < 1e9 ? (long long)(s + 0.5) : 0;
    if (t >= 3600)
        snprintf(buf, n, "%lld:%02lld:%02lld", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(buf, n, "%lld:%02lld", t / 60, t % 60);
}

// Epochs may have steps of other numbers, so time is told by them; `at` of them are done, and a part of the next.
static void eta(const struct rt_progress *p, double now, double at, char *buf, size_t n) {
    const double done = at - (double)p->first;
    rt_duration_text(done > 0 ? (now - p->started) / done * ((double)p->epochs - at) : 0, buf, n);
}

void rt_progress_step(struct rt_progress *p, int64_t epoch, double part, double images_per_s, const double *loss,
                      int peers, const size_t *rows) {
    const double now = p->terminal ? rt_now() : 0, at = (double)(epoch - 1) + part;
    if (!p->terminal || now - p->shown < REDRAW_SECONDS) return;
    char left[32];
    eta(p, now, at, left, sizeof left);
    p->shown = now;
    fprintf(p->f, "\repoch %lld/%lld  %3.0f %%  loss", (long long)epoch, (long long)p->epochs,
            100 * at / (double)p->epochs);
    for (int k = 0; k < peers; k++) fprintf(p->f, " %.4f", rows[k] ? loss[k] / (double)rows[k] : 0);
    fprintf(p->f, "  %.0f images/s  ETA %s\033[K", images_per_s, left);
    fflush(p->f);
}

// One number of every peer, where they have it.
static void of_peers(struct str *s, const struct rt_epoch_metrics *m, const char *title, const char *name,
                     const char *fmt, double times) {
    for (int k = 0; k < m->peers; k++) {
        double v = rt_metrics_get(m, RT_OF_PEER, k, name);
        if (isnan(v)) return;
        if (k == 0) str_add(s, title);
        char text[32];
        snprintf(text, sizeof text, "%.*f%s", fmt[0] - '0', times * v, fmt + 1);
        str_addf(s, " %s", text);
    }
}

void rt_progress_epoch(struct rt_progress *p, const struct rt_epoch_metrics *m) {
    if (!p->f) return;
    char left[32];
    struct str s = STR_INIT;
    eta(p, rt_now(), (double)m->epoch, left, sizeof left);
    str_addf(&s, "%sepoch %lld/%lld", p->terminal ? "\r\033[K" : "", (long long)m->epoch, (long long)p->epochs);
    of_peers(&s, m, "  loss", "loss", "4", 1);
    of_peers(&s, m, "  train", "train_top1_given", "2", 1);
    const bool test = !isnan(rt_metrics_get(m, RT_OF_ENSEMBLE, 0, "test_top1")); // else it is the validation images
    of_peers(&s, m, test ? "  test" : "  val", test ? "test_top1" : "val_top1", "2", 1);
    if (m->peers > 1 && !isnan(rt_metrics_get(m, RT_OF_ENSEMBLE, 0, test ? "test_top1" : "val_top1")))
        str_addf(&s, "  ensemble %.2f", rt_metrics_get(m, RT_OF_ENSEMBLE, 0, test ? "test_top1" : "val_top1"));
    const bool numbers = !isnan(rt_metrics_get(m, RT_OF_PEER, 0, "test_mse")),
               other = !isnan(rt_metrics_get(m, RT_OF_PEER, 0, "val_mse"));
    if (numbers || other)
        of_peers(&s, m, numbers ? "  test mse" : "  val mse", numbers ? "test_mse" : "val_mse", "6", 1);
    if ((numbers || other) && m->peers > 1)
        str_addf(&s, "  ensemble %.6f", rt_metrics_get(m, RT_OF_ENSEMBLE, 0, numbers ? "test_mse" : "val_mse"));
    of_peers(&s, m, "  taught", "selected_share", "1%", 100);
    str_addf(&s, "  lr %.4g  %.0f images/s", rt_metrics_get(m, RT_OF_EPOCH, 0, "lr"),
             rt_metrics_get(m, RT_OF_CLOCK, 0, "images_per_s"));
    const double waited = rt_metrics_get(m, RT_OF_CLOCK, 0, "waited_share"),
                 left_out = rt_metrics_get(m, RT_OF_CLOCK, 0, "files_left_out");
    if (!isnan(waited)) str_addf(&s, "  waited %.0f %%", 100 * waited);
    if (left_out > 0) str_addf(&s, "  %.0f file%s left out", left_out, left_out > 1 ? "s" : "");
    fprintf(p->f, "%s  ETA %s\n", s.s, left);
    fflush(p->f);
    str_release(&s);
}

static void say(const struct rt_progress *p, FILE *f, const char *severity, const char *fmt, va_list ap) {
    if (!f) return;
    char text[1024], safe[sizeof text];
    vsnprintf(text, sizeof text, fmt, ap);
    text_escape(safe, sizeof safe, text, strlen(text));
    fprintf(f, "%s%s: %s\n", p->terminal ? "\r\033[K" : "", severity, safe);
    fflush(f);
}

void rt_progress_note(struct rt_progress *p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(p, p->f, "note", fmt, ap);
    va_end(ap);
}

void rt_progress_warn(struct rt_progress *p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(p, p->warnings, "warning", fmt, ap);
    va_end(ap);
}
