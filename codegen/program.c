// Lowering driver: tensor table, memory plan, calls per phase.
#include "program.h"

#include "lower/lower.h"

#include <stdlib.h>
#include <string.h>

static int64_t up64(int64_t x) { return (x + 63) & ~INT64_C(63); }

static const struct cg_tensor *tensor_find(const struct cg_program *p, enum smkd_abi_role role, const char *name) {
    for (size_t i = 0; i < p->n_tensors; i++)
        if (p->tensors[i].role == role && strcmp(p->tensors[i].name, name) == 0) return &p->tensors[i];
    return NULL;
}

static uint32_t count_role(const struct cg_program *p, enum smkd_abi_role role) {
    uint32_t n = 0;
    for (size_t i = 0; i < p->n_tensors; i++) n += p->tensors[i].role == role;
    return n;
}

static void add_tensor(struct cg_program *p, enum smkd_abi_role role, const char *name, const struct ir_type *type,
                       const void *data) {
    if (tensor_find(p, role, name)) return; // the infer and the train graph share their boundary
    uint32_t index = role == SMKD_ABI_PARAM || role == SMKD_ABI_BUFFER ? 0 : count_role(p, role);
    struct cg_tensor t = {
        .name = name, .role = role, .type = *type, .index = index, .numel = ir_numel(type), .data = data};
    for (int i = 0; i < IR_MAX_RANK; i++) t.type.perm[i] = (uint8_t)i;
    *ARENA_PUSH(p->arena, p->tensors, p->n_tensors, p->cap_tensors) = t;
}

static void add_boundary(struct cg_program *p, const struct ir_graph *g) {
    static const enum smkd_abi_role role_of[] = {
        [IR_ROLE_INPUT] = SMKD_ABI_INPUT,         [IR_ROLE_PARAM] = SMKD_ABI_PARAM,
        [IR_ROLE_BUFFER] = SMKD_ABI_BUFFER,       [IR_ROLE_SCALAR] = SMKD_ABI_SCALAR,
        [IR_ROLE_COTANGENT] = SMKD_ABI_COTANGENT,
    };
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        add_tensor(p, role_of[v->role], v->name, &v->type, v->data);
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const struct ir_output *o = &g->outputs[i];
        if (o->kind == IR_OUT_OUTPUT) add_tensor(p, SMKD_ABI_OUTPUT, o->name, &g->values[o->value].type, NULL);
        if (o->kind == IR_OUT_GRAD_INPUT) add_tensor(p, SMKD_ABI_GRAD_INPUT, o->name, &g->values[o->value].type, NULL);
    }
}

enum smkd_status cg_tensors_build(struct cg_program *p, struct diag *d) {
    if (p->model->train) add_boundary(p, p->model->train);
    if (p->model->infer) add_boundary(p, p->model->infer);
    if (p->model->update) {
        static const char *const names[] = {"lr", "momentum", "weight_decay", "nesterov"};
        struct ir_type f = ir_scalar_type(IR_F32);
        for (int i = 0; i < 4; i++) add_tensor(p, SMKD_ABI_SCALAR, names[i], &f, NULL);
    }
    int64_t at = 0;
    for (int pass = 0; pass < 2; pass++) { // trained parameters first: one block of gradients and momentum beside them
        enum smkd_abi_role role = pass ? SMKD_ABI_BUFFER : SMKD_ABI_PARAM;
        for (size_t i = 0; i < p->n_tensors; i++) {
            struct cg_tensor *t = &p->tensors[i];
            if (t->role != role) continue;
            if (t->type.dtype != IR_F32) {
                diag_error(d, NULL, "parameter \"%s\" has type %s; only f32 parameters are supported", t->name,
                           ir_dtype_name(t->type.dtype));
                return SMKD_UNSUPPORTED;
            }
            t->offset = at;
            at += up64(t->numel * (int64_t)ir_dtype_size(t->type.dtype));
        }
        if (!pass) p->trained_bytes = at;
    }
    p->param_bytes = at;
    return SMKD_OK;
}

// --- plan ---------------------------------------------------------------------------------------------------------

static int64_t bytes_of(const struct ir_type *t) { return ir_numel(t) * (int64_t)ir_stored_size(t); }

static struct ir_slot boundary_slot(void *env, const struct ir_graph *g, ir_vid vid) {
    struct cg_program *p = env;
    const struct ir_value *v = &g->values[vid];
    struct ir_slot s = {.bytes = bytes_of(&v->type)};
    const struct cg_tensor *t = NULL;
    switch (v->role) {
    case IR_ROLE_CONST:
        s.place = IR_PLACE_CONST;
        return s;
    case IR_ROLE_INPUT:
        t = tensor_find(p, SMKD_ABI_INPUT, v->name);
        s.place = IR_PLACE_INPUT;
        break;
    case IR_ROLE_COTANGENT:
        t = tensor_find(p, SMKD_ABI_COTANGENT, v->name);
        s.place = IR_PLACE_INPUT;
        s.index = CG_INDEX_COTANGENT;
        break;
    case IR_ROLE_PARAM:
    case IR_ROLE_BUFFER:
        t = tensor_find(p, v->role == IR_ROLE_PARAM ? SMKD_ABI_PARAM : SMKD_ABI_BUFFER, v->name);
        s.place = IR_PLACE_PARAM;
        break;
    case IR_ROLE_SCALAR:
        t = tensor_find(p, SMKD_ABI_SCALAR, v->name);
        s.place = IR_PLACE_SCALAR;
        break;
    case IR_ROLE_NODE:
        break;
    }
    CHECK(t, "boundary value %s is in no table", v->name ? v->name : "?");
    s.index += t->index;
    s.offset = t->offset;
    return s;
}

static struct ir_slot output_slot(void *env, const struct ir_graph *g, size_t i) {
    struct cg_program *p = env;
    const struct ir_output *o = &g->outputs[i];
    struct ir_slot s = {.bytes = bytes_of(&g->values[o->value].type)};
    static const struct {
        enum smkd_abi_role role;
        enum ir_place place;
        uint32_t index;
    } to[] = {
        [IR_OUT_OUTPUT] = {SMKD_ABI_OUTPUT, IR_PLACE_OUTPUT, 0},
        [IR_OUT_GRAD_PARAM] = {SMKD_ABI_PARAM, IR_PLACE_GRAD, 0},
        [IR_OUT_GRAD_INPUT] = {SMKD_ABI_GRAD_INPUT, IR_PLACE_OUTPUT, CG_INDEX_GRAD_INPUT},
        [IR_OUT_BUFFER] = {SMKD_ABI_BUFFER, IR_PLACE_PARAM, 0},
    };
    CHECK(o->kind < sizeof to / sizeof *to, "output kind %d has no place", (int)o->kind);
    const struct cg_tensor *t = tensor_find(p, to[o->kind].role, o->name);
    CHECK(t, "output %s is in no table", o->name);
    s.place = to[o->kind].place;
    s.index = to[o->kind].index + t->index;
    s.offset = t->offset;
    return s;
}

static void workspace(void *env, const struct ir_graph *g, ir_nid n, int64_t *fixed, int64_t *per_sample) {
    struct cg_program *p = env;
    *fixed = *per_sample = 0;
    if (cg_ws_table[g->nodes[n].op]) cg_ws_table[g->nodes[n].op](p->t, g, n, fixed, per_sample);
}

// In inference, packed weights stay from one run to the next.
static bool workspace_stays(void *env, const struct ir_graph *g, ir_nid n) {
    const struct cg_program *p = env;
    return g == p->model->infer && g->nodes[n].op == IR_OP_conv && cg_is_weight(&g->values[g->nodes[n].in[1]]);
}

struct ir_plan *cg_plan(struct cg_program *p, const struct ir_graph *g) {
    struct ir_plan_options o = {.workspace = workspace,
                                .workspace_stays = workspace_stays,
                                .env = p,
                                .boundary = boundary_slot,
                                .output = output_slot};
    struct ir_plan *plan = ir_plan_make(g, &o);
    struct str fault = STR_INIT;
    // Always, as the verifier after every pass: milliseconds against results that are wrong at some batch size.
    CHECK(ir_plan_check(g, &o, plan, &fault), "plan of @%s: %s", g->name, fault.s);
    str_release(&fault);
    return plan;
}

// --- calls --------------------------------------------------------------------------------------------------------

void cg_kernel_symbol(const struct cg_program *p, uint32_t kernel, char buf[32]) {
    snprintf(buf, 32, "smkd_k_%016llx", (unsigned long long)p->hashes[kernel]);
}

static uint32_t kernel_index(struct cg_program *p, const struct cg_kernel *k) {
    uint64_t h = fnv1a(FNV_INIT, k->key, strlen(k->key));
    for (size_t i = 0; i < p->n_kernels; i++)
        if (p->hashes[i] == h) {
            CHECK(strcmp(p->kernels[i].key, k->key) == 0, "two kernels share the hash of %s", k->key);
            return (uint32_t)i;
        }
    *ARENA_PUSH(p->arena, p->hashes, p->n_kernels, p->cap_hashes) = h;
    p->n_kernels--; // the two arrays grow together
    *ARENA_PUSH(p->arena, p->kernels, p->n_kernels, p->cap_kernels) = *k;
    return (uint32_t)p->n_kernels - 1;
}

void cg_call(struct cg_lower *L, const struct cg_kernel *k, const struct cg_arg *args, int n_args) {
    struct cg_program *p = L->prog;
    CHECK(n_args == k->n_ptr && n_args <= CG_MAX_PTRS, "kernel %s called with %d arguments", k->key, n_args);
    struct cg_call_rec c = {.kernel = kernel_index(p, k), .n_args = n_args, .images = L->images, .node = L->node};
    c.args = arena_dup(p->arena, args, sizeof *args * (size_t)n_args);
    c.n_nodes = L->n_nodes;
    c.nodes = arena_dup(p->arena, L->nodes, sizeof *L->nodes * (size_t)L->n_nodes);
    c.prepares = L->prepares && p->cur == &p->phases[SMKD_ABI_INFER];
    c.only_input_grad = p->only_input_grad && p->only_input_grad[L->node];
    for (int i = 0; i < n_args; i++) {
        if (args[i].kind != CG_ARG_VALUE || L->plan->values[args[i].value].place != IR_PLACE_CONST) continue;
        size_t j = 0;
        while (j < p->n_consts && !(p->consts[j].g == L->g && p->consts[j].v == args[i].value)) j++;
        if (j == p->n_consts)
            *ARENA_PUSH(p->arena, p->consts, p->n_consts, p->cap_consts) = (struct cg_const){L->g, args[i].value};
    }
    int64_t scratch = up64(k->scratch_bytes) + CG_COUNTERS;
    if (scratch > p->cur->scratch_bytes) p->cur->scratch_bytes = scratch;
    *ARENA_PUSH(p->arena, p->cur->calls, p->cur->n_calls, p->cur->cap_calls) = c;
}

// Nodes whose results reach no output but gradients of inputs.
static bool *only_input_grad(struct arena *a, const struct ir_graph *g) {
    bool *needed = arena_array(a, g->n_values, 1), *only = arena_array(a, g->n_nodes + 1, 1);
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].kind != IR_OUT_GRAD_INPUT) needed[g->outputs[i].value] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct ir_node *n = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < n->n_out; k++) any |= needed[n->out[k]];
        only[i] = !any;
        for (int k = 0; any && k < n->n_in; k++)
            if (n->in[k] != IR_NONE) needed[n->in[k]] = true;
    }
    return only;
}

void cg_lower_graph(struct cg_program *p, struct ir_graph *g, const struct ir_plan *plan, enum smkd_abi_phase forward,
                    enum smkd_abi_phase backward, struct diag *d) {
    struct cg_lower L = {.arena = p->arena, .diag = d, .g = g, .plan = plan, .t = p->t, .prog = p};
    p->only_input_grad = only_input_grad(p->arena, g);
    p->phases[forward].g = g;
    p->phases[forward].plan = plan;
    for (size_t i = 0, done = 0; i < g->n_nodes; i++) {
        const struct ir_node *n = &g->nodes[i];
        if (n->is_inline || i < done) continue;
        enum smkd_abi_phase phase = n->phase == IR_BACKWARD ? backward : forward;
        p->cur = &p->phases[phase];
        p->cur->g = g;
        p->cur->plan = plan;
        L.node = (ir_nid)i;
        L.images = IR_N;
        L.prepares = false;
        bug_pass = "lower";
        bug_node = n->loc.node;
        CHECK(cg_lower_table[n->op], "op %s reached lowering", ir_ops[n->op].name);
        ir_nid list[CG_MAX_ROOTS] = {(ir_nid)i};
        const int together = cg_with_it(g, (ir_nid)i, list);
        L.nodes = list;
        L.n_nodes = together > 1 ? together : 1;
        if (together > 1)
            cg_lower_together(&L, list, together);
        else
            cg_lower_table[n->op](&L, (ir_nid)i);
        done = (size_t)list[L.n_nodes - 1] + 1;
    }
    if (p->model->train == g && backward != forward && p->model->kind == SMKD_ABI_MODEL) {
        p->phases[backward].g = g; // even a model without parameters has a (trivial) backward entry
        p->phases[backward].plan = plan;
    }
    bug_pass = bug_node = NULL;
    p->only_input_grad = NULL;
}

// --- optimizer -----------------------------------------------------------------------------------------------------

struct update {
    int64_t n;
    uint32_t scalar[4];
};

// PyTorch's SGD: g += wd*w; v = mu*v + g; w -= lr*(nesterov ? g + mu*v : v). One pass over the whole block.
static void emit_update(struct cg_fn *f, const void *params) {
    const struct update *u = params;
    int vl = f->t->vl;
    LLVMValueRef s[4];
    for (int i = 0; i < 4; i++) {
        LLVMValueRef d = cg_load(f, f->f64, cg_gep(f, f->f64, f->ptr[3], cg_i64(f, u->scalar[i])), 8);
        s[i] = LLVMBuildFPTrunc(f->b, d, f->f32, "");
    }
    LLVMValueRef nesterov = LLVMBuildFCmp(f->b, LLVMRealUNE, s[3], cg_f32c(f, 0), "");
    for (int i = 0; i < 3; i++) s[i] = cg_splat(f, s[i], vl);
    LLVMValueRef begin, end;
    cg_share(f, cg_i64(f, u->n), 64, &begin, &end);
    struct cg_loop l;
    LLVMValueRef i = cg_loop_begin(f, &l, begin, end, vl); // the block is padded to 64 bytes a tensor: no tail
    LLVMValueRef pw = cg_gep(f, f->f32, f->ptr[0], i), pg = cg_gep(f, f->f32, f->ptr[1], i),
                 pv = cg_gep(f, f->f32, f->ptr[2], i);
    LLVMValueRef w = cg_load(f, f->vf, pw, 4), g = cg_load(f, f->vf, pg, 4), v = cg_load(f, f->vf, pv, 4);
    g = cg_fma(f, s[2], w, g);
    v = cg_fma(f, s[1], v, g);
    LLVMValueRef ahead = cg_fma(f, s[1], v, g), step = LLVMBuildSelect(f->b, nesterov, ahead, v, "");
    cg_store(f, cg_fma(f, LLVMBuildFNeg(f->b, s[0], ""), step, w), pw, 4);
    cg_store(f, v, pv, 4);
    cg_loop_end(f, &l);
}

void cg_lower_update(struct cg_program *p) {
    static const char *const names[] = {"lr", "momentum", "weight_decay", "nesterov"};
    struct update *u = ARENA_NEW(p->arena, struct update);
    u->n = p->trained_bytes / 4;
    for (int i = 0; i < 4; i++) u->scalar[i] = tensor_find(p, SMKD_ABI_SCALAR, names[i])->index;
    struct cg_kernel k = {.emit = emit_update, .params = u, .n_ptr = 4, .noalias = true};
    k.key = arena_printf(p->arena, "sgd:%lld,%u,%u,%u,%u", (long long)u->n, u->scalar[0], u->scalar[1], u->scalar[2],
                         u->scalar[3]);
    struct cg_lower L = {.arena = p->arena, .prog = p, .t = p->t, .node = IR_NONE, .images = IR_N};
    p->cur = &p->phases[SMKD_ABI_UPDATE];
    p->cur->g = p->model->train;
    struct cg_arg args[4];
    for (int i = 0; i < 4; i++) args[i] = (struct cg_arg){.kind = CG_ARG_BLOCK, .value = (ir_vid)i};
    cg_call(&L, &k, args, 4);
}
