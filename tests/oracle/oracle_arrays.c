// What the runtime makes of arrays, for test_arrays.py.
//     oracle_arrays WHERE auto|labels|targets
// A line on stdout for each part, "train DTYPE BORROWED DIM,DIM,... labels|targets N", after which come the bytes of x
// and then of y (int32 or float32); or "error MESSAGE".
#include "../../runtime/data_arrays.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    struct rt_arrays a;
    struct rt_arrays_options o = {.y = strcmp(argv[2], "labels") == 0    ? RT_Y_LABELS
                                       : strcmp(argv[2], "targets") == 0 ? RT_Y_TARGETS
                                                                         : RT_Y_AUTO};
    if (rt_arrays_load(argv[1], &o, &a) != SMKD_R_OK) {
        printf("error %s\n", smkd_last_error());
        rt_arrays_release(&a);
        return 1;
    }
    for (int p = 0; p < 1 + a.has_test; p++) {
        const struct rt_array_part *q = p ? &a.test : &a.train;
        printf("%s %s %d ", p ? "test" : "train", rt_dtype_name(q->x.dtype), q->x.borrowed);
        for (int d = 0; d < q->x.rank; d++) printf("%s%lld", d ? "," : "", (long long)q->x.dims[d]);
        size_t n = q->labels ? q->n : q->n * (size_t)a.n_targets;
        printf(" %s %zu\n", q->labels ? "labels" : "targets", n);
        fwrite(q->x.data, 1, q->x.bytes, stdout);
        fwrite(q->labels ? (const void *)q->labels : (const void *)q->targets, 4, n, stdout);
    }
    rt_arrays_release(&a);
    return 0;
}
