// smkd-run limits: what this machine can do, the yardstick of `bench --per-node`.
#include "run_io.h"
#include "run_profile.h"
#include "run_train.h"

#include <stdlib.h>

static const struct args_opt opts[] = {RUN_THREADS_OPT, {"json", 0, NULL, NULL, "print JSON", 0}, {0}};
static const struct args_cmd cmd = {
    "smkd-run limits",
    "M.smkd",
    1,
    1,
    "Measures multiply-adds a second, with the instructions the artifact was compiled for, and bytes a second\nof "
    "memory. Other work on the machine lowers the figures.",
    opts};

static int run(const struct args *a) {
    int64_t threads;
    if (!args_i64(a, "threads", 0, 1024, &threads)) return EXIT_USAGE;
    smkd_team *team = smkd_team_new((int)threads);
    smkd_model *m = team ? smkd_model_load(a->pos[0]) : NULL;
    struct rt_limits l;
    enum smkd_result r = m ? rt_limits_measure(m, team, &l) : SMKD_R_INVALID;
    if (r == SMKD_R_OK && args_given(a, "json")) {
        cJSON *j = run_limits_json(&l);
        cJSON_AddNumberToObject(j, "threads", smkd_team_threads(team));
        char *text = cJSON_Print(j);
        CHECK(text, "out of memory for the report");
        puts(text);
        cJSON_free(text);
        cJSON_Delete(j);
    } else if (r == SMKD_R_OK) {
        printf("%.1f GFLOP/s of multiply-adds, %.1f GB/s (triad), %.1f GB/s (read) on %d threads\n", l.flops * 1e-9,
               l.bandwidth * 1e-9, l.read * 1e-9, smkd_team_threads(team));
    }
    smkd_model_free(m);
    smkd_team_free(team);
    return r == SMKD_R_OK ? EXIT_DONE : run_failed("limits");
}

int run_limits(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
