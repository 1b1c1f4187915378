// Profiles as tables and JSON.
#include "run_profile.h"

#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double run_median(double *x, size_t n) {
    qsort(x, n, sizeof *x, by_size);
    return n ? (x[(n - 1) / 2] + x[n / 2]) / 2 : 0;
}

// Of the sum of kernels [first, end). `room` holds a number a run.
static double median_seconds(const struct rt_profile *p, uint64_t first, uint64_t end, double *room) {
    for (int64_t run = 0; run < p->done; run++) {
        room[run] = 0;
        for (uint64_t k = first; k < end; k++) room[run] += p->seconds[(uint64_t)run * p->entry->n_kernels + k];
    }
    return run_median(room, (size_t)p->done);
}

void run_nodes_add(struct run_nodes *ns, const char *phase, const struct rt_profile *p, int64_t batch) {
    const struct smkd_abi_kernel *k = p->entry->kernels;
    double *room = xcalloc((size_t)p->runs + 1, sizeof *room);
    for (uint64_t i = 0, end; i < p->entry->n_kernels; i = end) {
        for (end = i + 1; end < p->entry->n_kernels && k[end].node_index == k[i].node_index; end++) continue;
        struct run_node n = {.phase = phase, .name = k[i].node ? k[i].node : "", .op = k[i].op};
        n.seconds = median_seconds(p, i, end, room);
        double longest = -1;
        for (uint64_t j = i; j < end; j++) {
            double s = median_seconds(p, j, j + 1, room);
            if (s > longest) {
                n.second = n.algorithm;
                n.second_seconds = longest;
                n.algorithm = k[j].algorithm;
                longest = s;
            } else if (!n.second || s > n.second_seconds) {
                n.second = k[j].algorithm;
                n.second_seconds = s;
            }
            n.flops += k[j].flops + (double)batch * k[j].sample_flops;
            n.bytes += k[j].bytes + (double)batch * k[j].sample_bytes;
        }
        if (ns->count == ns->cap) {
            ns->cap = ns->cap ? 2 * ns->cap : 256;
            ns->n = xrealloc(ns->n, ns->cap * sizeof *ns->n);
        }
        ns->n[ns->count++] = n;
    }
    free(room);
}

void run_nodes_release(struct run_nodes *ns) {
    free(ns->n);
    *ns = (struct run_nodes){0};
}

double run_node_limit(const struct run_node *n, const struct rt_limits *l, bool *memory) {
    double compute = l->flops > 0 ? n->flops / l->flops : 0, move = l->bandwidth > 0 ? n->bytes / l->bandwidth : 0;
    *memory = move > compute;
    return move > compute ? move : compute;
}

// Sums over nodes of the same phase, op and algorithm, largest first.
struct group {
    const struct run_node *first;
    double seconds, flops, bytes, limit;
    size_t n;
};

static int longer(const void *a, const void *b) {
    const struct group *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static size_t group_by_algorithm(const struct run_nodes *ns, const struct rt_limits *l, struct group *g) {
    size_t count = 0;
    for (size_t i = 0; i < ns->count; i++) {
        const struct run_node *n = &ns->n[i];
        size_t k = 0;
        while (k < count && !(g[k].first->phase == n->phase && !strcmp(g[k].first->op, n->op) &&
                              !strcmp(g[k].first->algorithm, n->algorithm)))
            k++;
        if (k == count) g[count++] = (struct group){.first = n};
        bool memory;
        g[k].seconds += n->seconds;
        g[k].flops += n->flops;
        g[k].bytes += n->bytes;
        g[k].limit += run_node_limit(n, l, &memory);
        g[k].n++;
    }
    qsort(g, count, sizeof *g, longer);
    return count;
}

void run_nodes_print(const struct run_nodes *ns, const struct rt_limits *l) {
    double total = 0;
    for (size_t i = 0; i < ns->count; i++) total += ns->n[i].seconds;
    printf("limits: %.1f GFLOP/s of multiply-adds, %.1f GB/s (triad), %.1f GB/s (read)\n", l->flops * 1e-9,
           l->bandwidth * 1e-9, l->read * 1e-9);
    printf("%9s %6s %9s %8s %7s  %-9s %-14s %s\n", "ms", "share", "GFLOP/s", "GB/s", "limit", "phase", "algorithm",
           "op, node");
    for (size_t i = 0; i < ns->count; i++) {
        const struct run_node *n = &ns->n[i];
        bool memory;
        double s = n->seconds > 0 ? n->seconds : 1e-12, limit = run_node_limit(n, l, &memory);
        printf("%9.3f %5.1f%% %9.1f %8.2f %6.0f%%%c %-9s %-14s %s %s", n->seconds * 1e3, 100 * n->seconds / total,
               n->flops / s * 1e-9, n->bytes / s * 1e-9, 100 * limit / s, memory ? 'm' : 'c', n->phase, n->algorithm,
               n->op, printable(n->name));
        if (n->second && n->second_seconds > 0.02 * s) printf(" (%s %.0f%%)", n->second, 100 * n->second_seconds / s);
        puts("");
    }
    struct group *g = xcalloc(ns->count + 1, sizeof *g);
    size_t count = group_by_algorithm(ns, l, g);
    printf("\nby phase, op and algorithm\n%9s %6s %9s %8s %7s  %5s\n", "ms", "share", "GFLOP/s", "GB/s", "limit",
           "nodes");
    for (size_t i = 0; i < count; i++) {
        double s = g[i].seconds > 0 ? g[i].seconds : 1e-12;
        printf("%9.3f %5.1f%% %9.1f %8.2f %6.0f%%  %5zu %-9s %-14s %s\n", g[i].seconds * 1e3,
               100 * g[i].seconds / total, g[i].flops / s * 1e-9, g[i].bytes / s * 1e-9, 100 * g[i].limit / s, g[i].n,
               g[i].first->phase, g[i].first->algorithm, g[i].first->op);
    }
    printf("%9.3f  all (limit: share of the time that operations at the peak, or bytes at the triad's speed, need; c "
           "compute, m memory)\n",
           total * 1e3);
    free(g);
}

cJSON *run_limits_json(const struct rt_limits *l) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddNumberToObject(j, "fma_gflops", l->flops * 1e-9);
    cJSON_AddNumberToObject(j, "triad_gbs", l->bandwidth * 1e-9);
    cJSON_AddNumberToObject(j, "read_gbs", l->read * 1e-9);
    return j;
}

cJSON *run_nodes_json(const struct run_nodes *ns, const struct rt_limits *l) {
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < ns->count; i++) {
        const struct run_node *n = &ns->n[i];
        bool memory;
        double limit = run_node_limit(n, l, &memory);
        cJSON *j = cJSON_CreateObject();
        cJSON_AddStringToObject(j, "phase", n->phase);
        cJSON_AddStringToObject(j, "node", n->name);
        cJSON_AddStringToObject(j, "op", n->op);
        cJSON_AddStringToObject(j, "algorithm", n->algorithm);
        cJSON_AddNumberToObject(j, "seconds", n->seconds);
        if (n->second) {
            cJSON_AddStringToObject(j, "second_kernel", n->second);
            cJSON_AddNumberToObject(j, "second_seconds", n->second_seconds);
        }
        cJSON_AddNumberToObject(j, "flops", n->flops);
        cJSON_AddNumberToObject(j, "bytes", n->bytes);
        cJSON_AddNumberToObject(j, "share_of_limit", n->seconds > 0 ? limit / n->seconds : 0);
        cJSON_AddStringToObject(j, "bound", memory ? "memory" : "compute");
        cJSON_AddItemToArray(list, j);
    }
    return list;
}
