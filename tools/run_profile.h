// bench --per-node: what each node took, beside what the machine could do.
#ifndef SMKD_TOOLS_RUN_PROFILE_H
#define SMKD_TOOLS_RUN_PROFILE_H

#include "../runtime/limits.h"

#include <cjson/cJSON.h>

// A node of the graph as it ran: all its kernels together, the median of the runs.
struct run_node {
    const char *phase, *name, *op, *algorithm; // name may be ""; algorithm: of its longest kernel
    double seconds, flops, bytes;              // one run's
    const char *second;                        // its second longest kernel, NULL when it has one only
    double second_seconds;
};
struct run_nodes {
    struct run_node *n;
    size_t count, cap;
};
double run_median(double *x, size_t n); // sorts x; 0 of none
// Appends the nodes of one phase, in order.
void run_nodes_add(struct run_nodes *ns, const char *phase, const struct rt_profile *p, int64_t batch);
void run_nodes_release(struct run_nodes *ns);
// The least seconds the machine needs for a node: its operations at the peak or its bytes at the bandwidth, whichever
// is longer. *memory tells which. An algorithm that saves operations can beat it.
double run_node_limit(const struct run_node *n, const struct rt_limits *l, bool *memory);
void run_nodes_print(const struct run_nodes *ns, const struct rt_limits *l);
cJSON *run_nodes_json(const struct run_nodes *ns, const struct rt_limits *l);
cJSON *run_limits_json(const struct rt_limits *l);
// A roofline picture: operations a byte against operations a second, a circle a node, its area the node's time. False
// when the file cannot be written (errno).
bool run_roofline_write(const char *path, const char *title, const struct run_nodes *ns, const struct rt_limits *l);

int run_limits(int argc, char **argv); // the command

#endif
