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

void rt_progress_init(struct rt_progress *p, FILE *f, FILE *warnings, int64_t epochs, int64_t steps_per_epoch,
                      int64_t first_step) {
    *p = (struct rt_progress){.f = f,
                              .warnings = warnings,
                              .terminal = f && isatty(fileno(f)),
                              .started = rt_now(),
                              .epochs = epochs,
                              .steps = epochs * steps_per_epoch,
                              .first_step = first_step};
}

static void duration(double s, char *buf, size_t n) {
    long long t = s > 0 && s < 1e9 ? (long long)(s + 0.5) : 0;
    if (t >= 3600)
        snprintf(buf, n, "%lld:%02lld:%02lld", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(buf, n, "%lld:%02lld", t / 60, t % 60);
}

static void eta(const struct rt_progress *p, double now, int64_t step, char *buf, size_t n) {
    int64_t done = step - p->first_step;
    duration(done > 0 ? (now - p->started) / (double)done * (double)(p->steps - step) : 0, buf, n);
}

void rt_progress_step(struct rt_progress *p, int64_t epoch, int64_t step, double images_per_s, const double loss[2]) {
    double now = p->terminal ? rt_now() : 0;
    if (!p->terminal || now - p->shown < REDRAW_SECONDS) return;
    char left[32];
    eta(p, now, step, left, sizeof left);
    p->shown = now;
    fprintf(p->f, "\repoch %lld/%lld  %3.0f %%  loss %.4f %.4f  %.0f images/s  ETA %s\033[K", (long long)epoch,
            (long long)p->epochs, 100.0 * (double)step / (double)p->steps, loss[0], loss[1], images_per_s, left);
    fflush(p->f);
}

void rt_progress_epoch(struct rt_progress *p, const struct rt_epoch_metrics *m) {
    if (!p->f) return;
    char left[32];
    eta(p, rt_now(), m->epoch * (p->steps / p->epochs), left, sizeof left);
    const struct rt_peer_metrics *a = &m->peers[0], *b = &m->peers[1];
    fprintf(p->f,
            "%sepoch %lld/%lld  loss %.4f %.4f  train %.2f %.2f  test %.2f %.2f  ensemble %.2f  taught %.1f%% %.1f%%  "
            "lr %.4g"
            "  %.0f images/s  ETA %s\n",
            p->terminal ? "\r\033[K" : "", (long long)m->epoch, (long long)p->epochs, a->loss, b->loss, a->train_given,
            b->train_given, a->test_top1, b->test_top1, m->ensemble_top1, 100 * a->selected, 100 * b->selected, m->lr,
            m->images_per_s, left);
    fflush(p->f);
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
