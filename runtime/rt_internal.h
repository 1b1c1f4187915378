// What the files of the runtime core share.
#ifndef SMKD_RT_INTERNAL_H
#define SMKD_RT_INTERNAL_H

#include "elf_file.h"

struct smkd_model {
    void *lib;
    char *path;
    const struct smkd_artifact *art; // &table
    struct smkd_artifact table;      // the artifact's, with zeros where its version has no field
    void *params, *grads, *momentum; // grads and momentum are made when first asked for
    struct rt_elf_image image;       // of a model that was only opened to be read; what `art` points to lies in it
    bool to_read;
    uint64_t changes; // of the parameters: grows whenever they may have been written
};

// The model computes with *block from now on, and *block is what it computed with.
void rt_exchange_params(smkd_model *m, void **block);

// Bytes of an element (enum smkd_abi_dtype).
static inline size_t rt_abi_size(uint32_t dtype) {
    static const size_t size_of[] = {4, 8, 4, 1, 1, 8, 1, 2, 2, 4, 8};
    CHECK(dtype < sizeof size_of / sizeof *size_of, "element type %u", (unsigned)dtype);
    return size_of[dtype];
}

void rt_team_run(smkd_team *t, smkd_entry entry, struct smkd_call *call);
// work(env, i) for every part i, each by one thread.
void rt_team_each(smkd_team *t, size_t parts, void (*work)(void *env, size_t part), void *env);
const struct smkd_model *rt_session_model(const smkd_session *s);
// All that runs of up to `batch` need, so that none of them meets a lack of memory halfway through something.
enum smkd_result rt_session_reserve(smkd_session *s, int64_t batch);
// Every later run calls `mark` as smkd_call says; NULL: no more.
void rt_session_mark(smkd_session *s, void (*mark)(void *env, uint64_t kernel), void *env);
// Whether this machine has what the artifact's code needs, and with it leave to use AMX tiles (cpu.c).
// SMKD_CPU_CHECK=off in the environment skips both, for an emulator that can do more than /proc/cpuinfo says.
enum smkd_result rt_check_cpu(const char *path, const struct smkd_artifact *a);
// Zeroed memory for big blocks: 64-aligned, 2 MiB-aligned with huge pages asked for when large. NULL when there is
// none.
void *rt_block_alloc(size_t bytes);
void rt_block_free(void *p, size_t bytes);
// n zeros, 64-aligned, to be freed with free; NULL when there is no memory.
float *rt_floats(size_t n);
#endif
