#define _DEFAULT_SOURCE // MAP_ANONYMOUS
#include "elf_file.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

_Static_assert(sizeof(struct smkd_seal) == SEAL_BYTES, "the ABI's seal is base/seal.h's");

static bool inside(uint64_t at, uint64_t n, uint64_t size) { return at <= size && n <= size - at; }

// The program headers; the file has been checked for them.
static const Elf64_Phdr *segments(const struct rt_elf *e, size_t *n) {
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)(const void *)e->bytes;
    *n = h->e_phnum;
    return (const Elf64_Phdr *)(const void *)(e->bytes + h->e_phoff);
}

// Where `n` bytes at an address lie in the file; NULL when no segment has all of them.
static const void *at_address(const struct rt_elf *e, uint64_t address, uint64_t n) {
    size_t count;
    const Elf64_Phdr *p = segments(e, &count);
    for (size_t i = 0; i < count; i++)
        if (p[i].p_type == PT_LOAD && address >= p[i].p_vaddr && inside(address - p[i].p_vaddr, n, p[i].p_filesz))
            return e->bytes + p[i].p_offset + (address - p[i].p_vaddr);
    return NULL;
}

// The entries of the dynamic section, and how many; without the one that ends them, if it has one.
static const Elf64_Dyn *dynamic_section(const struct rt_elf *e, size_t *n, bool *ends) {
    size_t count;
    const Elf64_Phdr *p = segments(e, &count), *d = p;
    while (d < p + count && d->p_type != PT_DYNAMIC) d++;
    const Elf64_Dyn *at = (const Elf64_Dyn *)(const void *)(e->bytes + d->p_offset);
    const size_t room = d->p_filesz / sizeof *at;
    for (*n = 0; *n < room && at[*n].d_tag != DT_NULL;) ++*n;
    *ends = *n < room;
    return at;
}

static uint64_t dynamic(const struct rt_elf *e, int64_t tag) {
    size_t n;
    bool ends;
    const Elf64_Dyn *d = dynamic_section(e, &n, &ends);
    for (size_t i = 0; i < n; i++)
        if (d[i].d_tag == tag) return d[i].d_un.d_val;
    return 0;
}

// --- checks ----------------------------------------------------------------------------------------------------------

static enum smkd_result not_ours(const struct rt_elf *e, const char *what) {
    return rt_fail(SMKD_R_INVALID,
                   "%s: refused: %s, which smkdc never writes; an artifact is a program: compile the model yourself",
                   e->path, what);
}

// The dynamic loader finds the section at its address, we at its place in the file.
static bool dynamic_is_one(const struct rt_elf *e) {
    size_t count;
    const Elf64_Phdr *p = segments(e, &count);
    for (size_t i = 0; i < count; i++)
        if (p[i].p_type == PT_DYNAMIC && at_address(e, p[i].p_vaddr, p[i].p_filesz) != e->bytes + p[i].p_offset)
            return false;
    return true;
}

static enum smkd_result check_segments(const struct rt_elf *e) {
    size_t count, loads = 0, dynamics = 0;
    const Elf64_Phdr *p = segments(e, &count);
    uint64_t end = 0; // in memory, up to which pages are taken
    for (size_t i = 0; i < count; i++) {
        if (!inside(p[i].p_offset, p[i].p_filesz, e->size - SEAL_BYTES))
            return rt_fail(SMKD_R_INVALID, "%s: the artifact is cut off; compile the model again", e->path);
        if (p[i].p_type == PT_INTERP || p[i].p_type == PT_TLS) return not_ours(e, "it has segments of a program");
        if (p[i].p_type == PT_DYNAMIC) {
            dynamics++;
            if (p[i].p_offset % sizeof(uint64_t)) return not_ours(e, "its dynamic section is not aligned");
        }
        // The dynamic loader makes the stack of the whole process executable for whoever asks.
        if (p[i].p_type == PT_GNU_STACK && p[i].p_flags & PF_X) return not_ours(e, "it wants an executable stack");
        if (p[i].p_type != PT_LOAD) continue;
        loads++;
        if ((p[i].p_flags & PF_W) && (p[i].p_flags & PF_X)) return not_ours(e, "it has code that can be changed");
        if (p[i].p_memsz < p[i].p_filesz || p[i].p_vaddr > (UINT64_C(1) << 46) || p[i].p_memsz > (UINT64_C(1) << 46) ||
            p[i].p_vaddr % PAGE != p[i].p_offset % PAGE || p[i].p_vaddr / PAGE * PAGE < end)
            return not_ours(e, "its segments overlap or are not aligned");
        end = (p[i].p_vaddr + p[i].p_memsz + PAGE - 1) / PAGE * PAGE;
    }
    // Memory that the file has no bytes for: what little there is comes from alignment.
    if (end > e->size + (UINT64_C(64) << 20)) return not_ours(e, "it asks for more memory than it has bytes");
    if (!loads || dynamics != 1) return not_ours(e, "it is no shared object");
    return dynamic_is_one(e) ? SMKD_R_OK : not_ours(e, "its dynamic section lies elsewhere when it is loaded");
}

// What would run, or bring in others that run, before anybody asked for it; by presence, since an address of 0 is one,
// too. And nothing but what linkers write for code like ours: tags that nobody here knows may run something, too.
static enum smkd_result check_dynamic(const struct rt_elf *e) {
    static const struct {
        int64_t tag;
        const char *wrong; // NULL: fine, once
    } tags[] = {
        {DT_GNU_HASH, NULL},
        {DT_HASH, NULL},
        {DT_STRTAB, NULL},
        {DT_STRSZ, NULL},
        {DT_SYMTAB, NULL},
        {DT_SYMENT, NULL},
        {DT_RELA, NULL},
        {DT_RELASZ, NULL},
        {DT_RELAENT, NULL},
        {DT_RELACOUNT, NULL},
        {DT_JMPREL, NULL},
        {DT_PLTRELSZ, NULL},
        {DT_PLTREL, NULL},
        {DT_PLTGOT, NULL},
        {DT_SONAME, NULL},
        {DT_FLAGS, NULL},
        {DT_FLAGS_1, NULL},
        {DT_NEEDED, "it wants another library"},
        {DT_AUDIT, "it wants another library"},
        {DT_DEPAUDIT, "it wants another library"},
        {DT_FILTER, "it wants another library"},
        {DT_AUXILIARY, "it wants another library"},
        {DT_RPATH, "it names folders of libraries"},
        {DT_RUNPATH, "it names folders of libraries"},
        {DT_INIT, "it has code that runs when it is loaded"},
        {DT_INIT_ARRAY, "it has code that runs when it is loaded"},
        {DT_INIT_ARRAYSZ, "it has code that runs when it is loaded"},
        {DT_PREINIT_ARRAY, "it has code that runs when it is loaded"},
        {DT_PREINIT_ARRAYSZ, "it has code that runs when it is loaded"},
        {DT_FINI, "it has code that runs at the end"},
        {DT_FINI_ARRAY, "it has code that runs at the end"},
        {DT_FINI_ARRAYSZ, "it has code that runs at the end"},
        {DT_REL, "it has relocations of another kind"},
        {DT_TEXTREL, "its code is changed when it is loaded"},
    };
    enum { N = sizeof tags / sizeof *tags };
    bool seen[N] = {false}, ends;
    const char *wrong = NULL;
    size_t n;
    const Elf64_Dyn *d = dynamic_section(e, &n, &ends);
    for (size_t i = 0; i < n; i++) {
        size_t t = 0;
        while (t < N && tags[t].tag != d[i].d_tag) t++;
        if (t < N && tags[t].wrong) return not_ours(e, tags[t].wrong);
        if (t == N || seen[t])
            wrong = "its dynamic section has entries of other kinds"; // said where nothing plainer is found
        else
            seen[t] = true;
    }
    if (wrong || !ends) return not_ours(e, wrong ? wrong : "its dynamic section has no end");
    if (dynamic(e, DT_FLAGS) & DF_TEXTREL) return not_ours(e, "its code is changed when it is loaded");
    return SMKD_R_OK;
}

// Whether 8 bytes at an address are the file's own to write to.
static bool writable(const struct rt_elf *e, uint64_t address) {
    size_t count;
    const Elf64_Phdr *p = segments(e, &count);
    for (size_t i = 0; i < count; i++)
        if (p[i].p_type == PT_LOAD && (p[i].p_flags & PF_W) && address >= p[i].p_vaddr &&
            inside(address - p[i].p_vaddr, sizeof(uint64_t), p[i].p_memsz))
            return true;
    return false;
}

// Relocations by R_X86_64_IRELATIVE, or to a symbol of its own whose value is asked of a function, run code, too; those
// of another place than the file's own change the process.
static enum smkd_result check_relocations(const struct rt_elf *e, int64_t where, int64_t bytes) {
    uint64_t n = dynamic(e, bytes) / sizeof(Elf64_Rela);
    const Elf64_Rela *r = n ? at_address(e, dynamic(e, where), n * sizeof *r) : NULL;
    if (n && (!r || (uintptr_t)r % sizeof(uint64_t))) return not_ours(e, "its relocations lie outside of it");
    for (uint64_t i = 0; i < n; i++) {
        uint32_t type = ELF64_R_TYPE(r[i].r_info), symbol = ELF64_R_SYM(r[i].r_info);
        if (!writable(e, r[i].r_offset)) return not_ours(e, "its relocations lie outside of it");
        if (type == R_X86_64_RELATIVE) continue;
        Elf64_Sym s = {0};
        const void *at = at_address(e, dynamic(e, DT_SYMTAB) + symbol * sizeof s, sizeof s);
        if (at) memcpy(&s, at, sizeof s);
        if ((type != R_X86_64_64 && type != R_X86_64_GLOB_DAT && type != R_X86_64_JUMP_SLOT) || !at ||
            (ELF64_ST_TYPE(s.st_info) == STT_GNU_IFUNC && s.st_shndx != SHN_UNDEF))
            return not_ours(e, "it has relocations of another kind");
    }
    return SMKD_R_OK;
}

static enum smkd_result check(const struct rt_elf *e) {
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)(const void *)e->bytes;
    if (e->size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return rt_fail(SMKD_R_INVALID, "%s: not an artifact of smkdc; make one with 'smkdc compile MODEL.onnx'",
                       e->path);
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64 ||
        h->e_type != ET_DYN)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: not an artifact for x86-64; compile the model on this machine with 'smkdc compile'",
                       e->path);
    if (h->e_shoff == 0 || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shoff > e->size ||
        (e->size - h->e_shoff) / sizeof(Elf64_Shdr) < h->e_shnum)
        return rt_fail(SMKD_R_INVALID, "%s: the artifact is cut off; compile the model again", e->path);
    if (!seal_there(e->bytes, e->size)) {
        // Behind what the ELF headers speak of, which linkers end with the section table, there is only the seal.
        bool nothing = e->size == h->e_shoff + h->e_shnum * sizeof(Elf64_Shdr);
        return nothing
                   ? rt_fail(SMKD_R_INVALID,
                             "%s: a shared object without the seal of smkdc, which is not loaded: make artifacts with "
                             "'smkdc compile MODEL.onnx'",
                             e->path)
                   : rt_fail(SMKD_R_INVALID, "%s: the artifact is cut off; compile the model again", e->path);
    }
    if (!seal_holds(e->bytes, e->size))
        return rt_fail(SMKD_R_INVALID,
                       "%s: the artifact is damaged: it is not what smkdc wrote; compile the model again", e->path);
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phoff % sizeof(uint64_t) ||
        !inside(h->e_phoff, h->e_phnum * sizeof(Elf64_Phdr), e->size))
        return not_ours(e, "its program headers lie outside of it");
    enum smkd_result r = check_segments(e);
    if (r == SMKD_R_OK) r = check_dynamic(e);
    if (r == SMKD_R_OK) r = check_relocations(e, DT_RELA, DT_RELASZ);
    return r == SMKD_R_OK ? check_relocations(e, DT_JMPREL, DT_PLTRELSZ) : r;
}

enum smkd_result rt_elf_open(struct rt_elf *e, const char *path) {
    *e = (struct rt_elf){.path = path, .fd = -1};
    enum smkd_status s = io_open(path, &e->fd, &e->size);
    if (s != SMKD_OK) return rt_fail(rt_result(s), "%s: cannot be read: %s", path, io_why());
    const void *data;
    enum smkd_result r;
    if ((s = io_map_fd(path, e->fd, e->size, &data)) != SMKD_OK) {
        r = rt_fail(rt_result(s), "%s: cannot be read: %s", path, io_why());
    } else {
        e->bytes = data;
        r = check(e);
    }
    if (r != SMKD_R_OK) rt_elf_close(e);
    return r;
}

void rt_elf_close(struct rt_elf *e) {
    if (e->bytes) io_unmap(e->bytes, e->size);
    if (e->fd >= 0) close(e->fd);
    *e = (struct rt_elf){.fd = -1};
}

// --- the image -------------------------------------------------------------------------------------------------------

// The address of an exported symbol, from the section table; 0 when there is none.
static uint64_t exported(const struct rt_elf *e, const char *name) {
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)(const void *)e->bytes;
    const Elf64_Shdr *s = (const Elf64_Shdr *)(const void *)(e->bytes + h->e_shoff);
    if (h->e_shoff % sizeof(uint64_t)) return 0;
    for (size_t i = 0; i < h->e_shnum; i++) {
        if (s[i].sh_type != SHT_DYNSYM || s[i].sh_link >= h->e_shnum) continue;
        const Elf64_Shdr *t = &s[s[i].sh_link];
        if (!inside(s[i].sh_offset, s[i].sh_size, e->size) || !inside(t->sh_offset, t->sh_size, e->size) ||
            s[i].sh_offset % sizeof(uint64_t))
            return 0;
        const Elf64_Sym *y = (const Elf64_Sym *)(const void *)(e->bytes + s[i].sh_offset);
        const char *names = (const char *)e->bytes + t->sh_offset;
        for (size_t k = 0; k < s[i].sh_size / sizeof *y; k++)
            if (y[k].st_shndx != SHN_UNDEF && inside(y[k].st_name, strlen(name) + 1, t->sh_size) &&
                memcmp(names + y[k].st_name, name, strlen(name) + 1) == 0)
                return y[k].st_value;
    }
    return 0;
}

static bool lay_out(const struct rt_elf *e, struct rt_elf_image *m) {
    size_t count;
    const Elf64_Phdr *p = segments(e, &count);
    for (size_t i = 0; i < count; i++)
        if (p[i].p_type == PT_LOAD) m->bytes = p[i].p_vaddr + p[i].p_memsz;
    m->bytes = (m->bytes / PAGE + 2) * PAGE; // zeros behind the last byte: every string ends
    m->at = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->at == MAP_FAILED) return false;
    for (size_t i = 0; i < count; i++) {
        if (p[i].p_type != PT_LOAD || !p[i].p_filesz) continue;
        uint64_t into = p[i].p_vaddr % PAGE, end = p[i].p_vaddr + p[i].p_filesz;
        const bool changes = p[i].p_flags & PF_W;
        if (mmap(m->at + p[i].p_vaddr - into, p[i].p_filesz + into, changes ? PROT_READ | PROT_WRITE : PROT_READ,
                 MAP_PRIVATE | MAP_FIXED, e->fd, (off_t)(p[i].p_offset - into)) == MAP_FAILED)
            return false;
        if (changes && end % PAGE)
            memset(m->at + end, 0, PAGE - end % PAGE); // what follows in the file is not of the segment
    }
    uint64_t n = dynamic(e, DT_RELASZ) / sizeof(Elf64_Rela);
    const Elf64_Rela *r = n ? at_address(e, dynamic(e, DT_RELA), n * sizeof *r) : NULL;
    for (uint64_t i = 0; i < n; i++) {
        if (ELF64_R_TYPE(r[i].r_info) != R_X86_64_RELATIVE || !inside(r[i].r_offset, 8, m->bytes)) continue;
        uintptr_t value = (uintptr_t)m->at + (uint64_t)r[i].r_addend;
        memcpy(m->at + r[i].r_offset, &value, sizeof value);
    }
    return true;
}

static bool holds(const struct rt_elf_image *m, const void *p, uint64_t n, uint64_t size) {
    uint64_t at = (uint64_t)((uintptr_t)p - (uintptr_t)m->at);
    return at <= m->bytes && n <= (m->bytes - at) / size;
}
static bool text(const struct rt_elf_image *m, const char *s) { return !s || holds(m, s, 1, 1); }

size_t rt_table_bytes(uint32_t abi_version) {
    return abi_version < 3   ? offsetof(struct smkd_artifact, heads)
           : abi_version < 4 ? offsetof(struct smkd_artifact, taps)
                             : sizeof(struct smkd_artifact);
}

static bool tables_inside(const struct rt_elf_image *m) {
    const struct smkd_artifact *a = m->artifact;
    if ((uintptr_t)a % sizeof(uint64_t) || !holds(m, a, 1, sizeof a->abi_version) ||
        !holds(m, a, 1, rt_table_bytes(a->abi_version)))
        return false;
    const char *const texts[] = {a->name, a->producer, a->target_cpu, a->required_features, a->notes};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!text(m, texts[i])) return false;
    if (a->n_tensors && (!holds(m, a->tensors, a->n_tensors, sizeof *a->tensors) || (uintptr_t)a->tensors % 8))
        return false;
    for (uint64_t i = 0; i < a->n_tensors; i++)
        if (!text(m, a->tensors[i].name)) return false;
    for (int p = 0; p < SMKD_ABI_PHASES; p++) {
        const struct smkd_abi_entry *e = &a->entries[p];
        if (e->n_kernels && (!holds(m, e->kernels, e->n_kernels, sizeof *e->kernels) || (uintptr_t)e->kernels % 8))
            return false;
        for (uint64_t i = 0; i < e->n_kernels; i++)
            if (!text(m, e->kernels[i].node) || !text(m, e->kernels[i].op) || !text(m, e->kernels[i].algorithm))
                return false;
    }
    if (a->abi_version >= 3) { // the fields since then
        if (!text(m, a->mixing_node) || !text(m, a->mixing_op)) return false;
        if (a->n_heads && (!holds(m, a->heads, a->n_heads, sizeof *a->heads) || (uintptr_t)a->heads % 8)) return false;
        for (uint64_t i = 0; i < a->n_heads; i++)
            if (!text(m, a->heads[i].output) || !text(m, a->heads[i].logits) || !text(m, a->heads[i].op)) return false;
    }
    if (a->abi_version >= 4 && a->n_taps) {
        if (!holds(m, a->taps, a->n_taps, sizeof *a->taps) || (uintptr_t)a->taps % 8) return false;
        for (uint64_t i = 0; i < a->n_taps; i++)
            if (!text(m, a->taps[i])) return false;
    }
    return (!a->initial || holds(m, a->initial, a->param_bytes, 1)) &&
           (!a->onnx || holds(m, a->onnx, a->onnx_bytes, 1));
}

enum smkd_result rt_elf_image(const struct rt_elf *e, struct rt_elf_image *out) {
    *out = (struct rt_elf_image){0};
    uint64_t table = exported(e, SMKD_TABLE_SYMBOL);
    if (!table)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: was made by a version of smkdc that left no table to read; compile the model again",
                       e->path);
    bool ok = lay_out(e, out), memory = ok;
    if (!ok) rt_fail(SMKD_R_NOMEM, "%s: out of memory for its %zu bytes", e->path, e->size);
    if (ok) {
        out->artifact = (const struct smkd_artifact *)(const void *)(out->at + (table < out->bytes ? table : 0));
        ok = table < out->bytes && tables_inside(out);
        if (!ok) rt_fail(SMKD_R_INVALID, "%s: the artifact's tables are damaged; compile the model again", e->path);
    }
    if (ok) return SMKD_R_OK;
    if (out->at && out->at != MAP_FAILED) munmap(out->at, out->bytes);
    *out = (struct rt_elf_image){0};
    return memory ? SMKD_R_INVALID : SMKD_R_NOMEM;
}
