// Loading artifacts, and opening them to be read. The file is looked at (elf_file.c) before it is handed to the dynamic
// loader.
#define _DEFAULT_SOURCE // MAP_ANONYMOUS, madvise
#include "rt_internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE = 2 << 20 };
// More than any machine has, and small enough that products of a few such figures can be checked by division.
#define MAX_NUMEL (UINT64_C(1) << 46)

void *rt_block_alloc(size_t bytes) {
    if (bytes == 0) bytes = 64;
    if (bytes < HUGE) {
        void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
        return p ? memset(p, 0, bytes) : NULL;
    }
    // Over-allocate address space and give the ends back, so that the block starts on a huge page.
    size_t want = (bytes + HUGE - 1) / HUGE * HUGE;
    char *p = mmap(NULL, want + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t head = (HUGE - (uintptr_t)p % HUGE) % HUGE;
    if (head) munmap(p, head);
    if (HUGE - head) munmap(p + head + want, HUGE - head);
    madvise(p + head, want, MADV_HUGEPAGE); // a wish: fine when refused
    return p + head;
}

void rt_exchange_params(smkd_model *m, void **block) {
    void *own = m->params;
    m->params = *block;
    *block = own;
    m->changes++;
}

float *rt_floats(size_t n) {
    if (n > (SIZE_MAX - 63) / sizeof(float)) return NULL;
    size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
    float *p = aligned_alloc(64, bytes ? bytes : 64);
    if (p) memset(p, 0, bytes);
    return p;
}

void rt_block_free(void *p, size_t bytes) {
    if (!p) return;
    if (bytes < HUGE)
        free(p);
    else
        munmap(p, (bytes + HUGE - 1) / HUGE * HUGE);
}

// Elements of a row as its dims say (per sample), or UINT64_MAX where they make no sense.
static uint64_t dims_numel(const struct smkd_abi_tensor *t) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        int64_t d = t->dims[i];
        if (d == INT64_MIN || (d < 0 && i > 0)) return UINT64_MAX; // only the first may stand for the batch
        if (d == 0 && t->role != SMKD_ABI_OUTPUT && t->role != SMKD_ABI_COTANGENT) return UINT64_MAX;
        uint64_t size = (uint64_t)(d < 0 ? -d : d);
        if (size && n > MAX_NUMEL / size) return UINT64_MAX;
        n *= size;
    }
    return n;
}

// Everything a session adds, multiplies or indexes with, so that it need not look again.
static bool check_row(const struct smkd_abi_tensor *t) {
    if (!t->name || !t->name[0] || t->rank > SMKD_ABI_MAX_RANK || t->role > SMKD_ABI_SCALAR ||
        t->dtype >= SMKD_ABI_DTYPES)
        return false;
    bool block = t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER;
    if (block && (t->dtype != SMKD_ABI_F32 || (t->rank && t->dims[0] < 0))) return false;
    return dims_numel(t) == t->numel;
}

static bool check_entries(const struct smkd_artifact *a) {
    const struct smkd_abi_entry *f = &a->entries[SMKD_ABI_FORWARD], *b = &a->entries[SMKD_ABI_BACKWARD];
    for (int i = 0; i < SMKD_ABI_PHASES; i++) {
        const struct smkd_abi_entry *e = &a->entries[i];
        if (e->n_kernels > UINT32_MAX || (e->n_kernels && !e->kernels)) return false;
        if (e->fixed_bytes > SMKD_ABI_MAX_BYTES || e->scratch_bytes > SMKD_ABI_MAX_BYTES ||
            e->sample_bytes > SMKD_ABI_MAX_BYTES / a->max_batch)
            return false;
    }
    // Backward finds the activations that forward left: an arena of another size would be another arena.
    return !b->run || (f->run && f->fixed_bytes == b->fixed_bytes && f->sample_bytes == b->sample_bytes);
}

static const struct smkd_abi_tensor *find_row(const struct smkd_artifact *a, enum smkd_abi_role role,
                                              const char *name) {
    for (uint64_t i = 0; i < a->n_tensors; i++)
        if (a->tensors[i].role == role && a->tensors[i].name && strcmp(a->tensors[i].name, name) == 0)
            return &a->tensors[i];
    return NULL;
}

static bool check_heads(const struct smkd_artifact *a) {
    if (a->n_heads > a->n_tensors || (a->n_heads && !a->heads)) return false;
    for (uint64_t i = 0; i < a->n_heads; i++) {
        const struct smkd_abi_head *h = &a->heads[i];
        const struct smkd_abi_tensor *t = h->output && h->logits ? find_row(a, SMKD_ABI_OUTPUT, h->logits) : NULL;
        if (!t || t->dtype != SMKD_ABI_F32 || t->rank != 2 || t->dims[0] != -1 || t->dims[1] < 2) return false;
    }
    return true;
}

static bool check_taps(const struct smkd_artifact *a) {
    if (a->n_taps > a->n_tensors || (a->n_taps && !a->taps)) return false;
    for (uint64_t i = 0; i < a->n_taps; i++) {
        const struct smkd_abi_tensor *t = a->taps[i] ? find_row(a, SMKD_ABI_OUTPUT, a->taps[i]) : NULL;
        if (!t || t->dtype != SMKD_ABI_F32 || t->rank < 1 || t->dims[0] != -1 ||
            !find_row(a, SMKD_ABI_COTANGENT, a->taps[i]))
            return false;
    }
    return true;
}

// The artifact's table, taken as far as its version goes.
static void take_table(smkd_model *m, const struct smkd_artifact *a) {
    memcpy(&m->table, a, rt_table_bytes(a->abi_version));
    m->art = &m->table;
}

static const struct smkd_artifact *ask(smkd_query_fn query) {
    const struct smkd_artifact *a = NULL;
    for (uint32_t v = SMKD_ABI_VERSION; v >= SMKD_ABI_OLDEST && !a; v--) a = query(v);
    return a;
}

static enum smkd_result check_tables(const char *path, const struct smkd_artifact *a) {
    bool ok = a->kind < SMKD_ABI_KINDS && a->abi_version >= SMKD_ABI_OLDEST && a->abi_version <= SMKD_ABI_VERSION &&
              a->trained_bytes <= a->param_bytes && a->param_bytes <= SMKD_ABI_MAX_BYTES && a->max_batch > 0 &&
              a->max_batch <= INT32_MAX && a->n_tensors <= UINT32_MAX && (a->n_tensors == 0 || a->tensors) && a->name &&
              a->target_cpu && (a->onnx || !a->onnx_bytes) && check_entries(a) && check_heads(a) && check_taps(a);
    uint32_t next[SMKD_ABI_SCALAR + 1] = {0};
    for (uint64_t i = 0; ok && i < a->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &a->tensors[i];
        ok = check_row(t);
        if (ok && (t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER)) {
            uint64_t limit = t->role == SMKD_ABI_PARAM ? a->trained_bytes : a->param_bytes;
            ok = t->offset % 64 == 0 && t->offset <= limit && t->numel <= (limit - t->offset) / 4;
        } else if (ok) {
            ok = t->index == next[t->role]++;
        }
    }
    return ok ? SMKD_R_OK
              : rt_fail(SMKD_R_INVALID, "%s: the artifact's tables are damaged; compile the model again", path);
}

// Copies from a mapped file, telling the system piece by piece that the file's pages are not needed in memory any more:
// they count as the process's.
static void copy_and_forget(char *to, const char *from, size_t n) {
    enum { PAGE = 4096, PIECE = 8 << 20 };
    for (size_t at = 0; at < n; at += PIECE) {
        size_t len = n - at < PIECE ? n - at : PIECE;
        memcpy(to + at, from + at, len);
        uintptr_t begin = ((uintptr_t)from + at + PAGE - 1) / PAGE * PAGE,
                  end = ((uintptr_t)from + at + len) / PAGE * PAGE;
        if (end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED); // a wish
    }
}

// The parameter block with the artifact's own weights.
static bool make_params(smkd_model *m) {
    m->params = rt_block_alloc(m->art->param_bytes);
    if (!m->params) {
        rt_fail(SMKD_R_NOMEM, "%s: out of memory for %llu bytes of parameters", m->path,
                (unsigned long long)m->art->param_bytes);
        return false;
    }
    if (m->art->initial) copy_and_forget(m->params, m->art->initial, m->art->param_bytes);
    return true;
}

// The dynamic loader takes a name; this one stands for the descriptor of the file that was checked. It also knows files
// by the names that they were loaded by, and numbers of descriptors come back: so that no name ever means two files, a
// counter is spelled in it ("/" or "/./").
static void descriptor_name(int fd, char name[160]) {
    static atomic_uint counter;
    unsigned n = atomic_fetch_add(&counter, 1);
    char *p = name + sprintf(name, "/proc/self/fd/");
    for (int bit = 0; bit < 32; bit++) {
        if (n >> bit & 1) *p++ = '.';
        *p++ = '/';
    }
    sprintf(p, "%d", fd);
}

static smkd_model *new_model(const char *path) {
    smkd_model *m = calloc(1, sizeof *m);
    if (m) m->path = malloc(strlen(path) + 1);
    if (m && m->path) {
        strcpy(m->path, path);
        return m;
    }
    free(m);
    rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    return NULL;
}

// Of the code only smkd_query runs (plain x86-64) before ABI version, tables and CPU have been checked.
static bool load(smkd_model *m, const struct rt_elf *e) {
    char name[160];
    descriptor_name(e->fd, name);
    errno = 0;
    m->lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!m->lib) {
        const bool memory = errno == ENOMEM; // dlerror has other words for it
        const char *text = dlerror();
        rt_fail(memory ? SMKD_R_NOMEM : SMKD_R_INVALID, "%s: cannot be loaded: %s", m->path,
                memory ? "out of memory" : text);
        return false;
    }
    smkd_query_fn query = NULL;
    const struct smkd_artifact *a = NULL;
    *(void **)&query = dlsym(m->lib, SMKD_QUERY_SYMBOL);
    if (!query)
        rt_fail(SMKD_R_INVALID, "%s: a shared object, but not an artifact of smkdc (no %s in it)", m->path,
                SMKD_QUERY_SYMBOL);
    else if (!(a = ask(query)))
        rt_fail(SMKD_R_MISMATCH,
                "%s: was made by another version of smkdc (this runtime speaks ABI %u); compile the model again",
                m->path, SMKD_ABI_VERSION);
    if (!a) return false;
    take_table(m, a);
    if (check_tables(m->path, m->art) != SMKD_R_OK || rt_check_cpu(m->path, m->art) != SMKD_R_OK) return false;
    return make_params(m);
}

static bool read_only(smkd_model *m, const struct rt_elf *e) {
    m->to_read = true;
    if (rt_elf_image(e, &m->image) != SMKD_R_OK) return false;
    take_table(m, m->image.artifact);
    return check_tables(m->path, m->art) == SMKD_R_OK;
}

static smkd_model *made(const char *path, const struct rt_elf *e, bool (*how)(smkd_model *m, const struct rt_elf *e)) {
    smkd_model *m = new_model(path);
    if (m && how(m, e)) return m;
    smkd_model_free(m);
    return NULL;
}

static smkd_model *open_model(const char *path, bool (*how)(smkd_model *m, const struct rt_elf *e)) {
    struct rt_elf e;
    if (rt_elf_open(&e, path) != SMKD_R_OK) return NULL;
    smkd_model *m = made(path, &e, how);
    rt_elf_close(&e);
    return m;
}

smkd_model *smkd_model_load(const char *path) { return open_model(path, load); }
smkd_model *smkd_model_read(const char *path) { return open_model(path, read_only); }

static bool is_known(const char *path, const struct smkd_artifact *a, const struct rt_known *k) {
    char hash[24];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)a->content_hash);
    if (strcmp(hash, k->hash) == 0) return true;
    rt_fail(SMKD_R_MISMATCH, "%s: is another artifact than %s (content hash %s, then %s); give that one with %s", path,
            k->what, hash, k->hash, k->option);
    return false;
}

smkd_model *rt_model_load_known(const char *path, const struct rt_known *k) {
    struct rt_elf e;
    struct rt_elf_image image;
    if (rt_elf_open(&e, path) != SMKD_R_OK) return NULL;
    enum smkd_result r = rt_elf_image(&e, &image);
    bool known = r == SMKD_R_MISMATCH; // of before there was a table to find: its hash shows once it is loaded
    if (r == SMKD_R_OK) {
        known = is_known(path, image.artifact, k);
        munmap(image.at, image.bytes);
    }
    smkd_model *m = known ? made(path, &e, load) : NULL;
    if (m && !is_known(path, m->art, k)) {
        smkd_model_free(m);
        m = NULL;
    }
    rt_elf_close(&e);
    return m;
}

void smkd_model_free(smkd_model *m) {
    if (!m) return;
    if (m->art) {
        rt_block_free(m->params, m->art->param_bytes);
        rt_block_free(m->grads, m->art->trained_bytes);
        rt_block_free(m->momentum, m->art->trained_bytes);
    }
    if (m->lib) dlclose(m->lib);
    if (m->image.at) munmap(m->image.at, m->image.bytes);
    free(m->path);
    free(m);
}

const struct smkd_artifact *smkd_model_info(const smkd_model *m) { return m->art; }

const struct smkd_abi_tensor *smkd_model_find(const smkd_model *m, enum smkd_abi_role role, const char *name) {
    return find_row(m->art, role, name);
}

const struct smkd_abi_tensor *smkd_model_nth(const smkd_model *m, enum smkd_abi_role role, size_t n) {
    for (uint64_t i = 0; i < m->art->n_tensors; i++)
        if (m->art->tensors[i].role == role && n-- == 0) return &m->art->tensors[i];
    return NULL;
}

void *smkd_model_params(smkd_model *m) {
    m->changes++;                   // the caller may write
    if (!m->params) make_params(m); // of one that was opened to be read
    return m->params;
}

static void *lazy(smkd_model *m, void **block) {
    if (!*block) *block = rt_block_alloc(m->art->trained_bytes);
    if (!*block)
        rt_fail(SMKD_R_NOMEM, "%s: out of memory for %llu bytes", m->path, (unsigned long long)m->art->trained_bytes);
    return *block;
}
void *smkd_model_grads(smkd_model *m) { return lazy(m, &m->grads); }
void *smkd_model_momentum(smkd_model *m) { return lazy(m, &m->momentum); }
