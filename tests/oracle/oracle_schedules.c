// The rate of every step of a run, for test_schedules.py: oracle_schedules STEPS LESS [--flag value]... [measure]...
// A line a step on stdout. The measures are those of the epochs (LESS 1: less is better), cycled.
#include "../../runtime/schedule.h"

#include "../../runtime/run_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    struct rt_config c;
    struct rt_schedule s;
    rt_config_init(&c, method_find("ce"));
    enum smkd_result r = rt_config_set(&c, "data", "none");
    int i = 3;
    for (; r == SMKD_R_OK && i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2)
        r = rt_config_set(&c, argv[i] + 2, argv[i + 1]);
    int64_t steps = argc > 3 ? atoi(argv[1]) : 0;
    if (r == SMKD_R_OK) r = rt_config_resolve(&c);
    if (r == SMKD_R_OK) r = rt_schedule_init(&s, &c, steps);
    for (int64_t e = 1; r == SMKD_R_OK && e <= c.epochs; e++) {
        for (int64_t t = 0; t < steps; t++) printf("%.17g\n", rt_schedule_lr(&s, e, t));
        if (i < argc) rt_schedule_measured(&s, e, atof(argv[i + (e - 1) % (argc - i)]), atoi(argv[2]));
    }
    if (r != SMKD_R_OK) fprintf(stderr, "%s\n", smkd_last_error());
    rt_config_release(&c);
    return r != SMKD_R_OK;
}
