// What report.h makes of probabilities, for test_report.py. On stdin: CLASSES LOGITS (1: the numbers are logits), then
// of each image its label and CLASSES numbers. On stdout the report as JSON.
#include "../../runtime/report.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    int classes, logits, label;
    if (scanf("%d %d", &classes, &logits) != 2) return 2;
    float *z = calloc((size_t)classes, sizeof *z);
    double *p = calloc((size_t)classes, sizeof *p);
    struct rt_report r;
    rt_report_init(&r, classes, 0);
    while (scanf("%d", &label) == 1) {
        for (int c = 0; c < classes; c++) {
            if (scanf("%lf", &p[c]) != 1) return 2;
            z[c] = (float)p[c];
        }
        if (logits) rt_softmax(z, classes, p);
        rt_report_add(&r, logits ? z : NULL, p, label);
    }
    rt_report_finish(&r);
    cJSON *o = rt_report_json(&r, NULL);
    char *text = cJSON_PrintUnformatted(o);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(o);
    rt_report_release(&r);
    free(z);
    free(p);
    return 0;
}
