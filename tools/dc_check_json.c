// What smkdc check says, as one JSON object for programs.
#include "dc_check.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

static cJSON *dims_of(const int64_t *dims, int rank) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < rank; i++) {
        char text[24];
        cJSON_AddItemToArray(list, dims[i] < 0 ? cJSON_CreateString(ir_dim_text(dims[i], text))
                                               : cJSON_CreateNumber((double)dims[i]));
    }
    return list;
}

// A text of a file that is no UTF-8 has been refused, so that names are what JSON may hold.
static cJSON *value_of(const struct dc_model *m, const char *name, const struct ir_type *t, bool output) {
    cJSON *o = cJSON_CreateObject();
    size_t n;
    const struct fe_form *f = fe_forms(m->file, &n);
    cJSON_AddStringToObject(o, "name", name);
    cJSON_AddStringToObject(o, "dtype", ir_dtype_name(t->dtype));
    cJSON_AddItemToObject(o, "dims", dims_of(t->dims, t->rank));
    for (size_t i = 0; i < n; i++)
        if (f[i].output == output && !strcmp(f[i].name, name)) {
            cJSON_AddItemToObject(o, "file_dims", dims_of(f[i].dims, f[i].rank));
            break;
        }
    return o;
}

static void add_count(cJSON *to, const char *name, const struct dc_check_count *c) {
    cJSON *o = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(o, "numbers", (double)c->numbers);
    cJSON_AddNumberToObject(o, "tensors", (double)c->tensors);
}

static void add_graph(cJSON *j, const struct dc_model *m) {
    const struct ir_graph *g = m->imported;
    struct dc_check_count parameters, statistics;
    size_t n;
    dc_check_count(m, &parameters, &statistics);
    cJSON *inputs = cJSON_AddArrayToObject(j, "inputs"), *outputs = cJSON_AddArrayToObject(j, "outputs"),
          *logits = cJSON_AddArrayToObject(j, "logits"), *tensors = cJSON_AddArrayToObject(j, "tensors");
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        if (v->role == IR_ROLE_INPUT) cJSON_AddItemToArray(inputs, value_of(m, v->name, &v->type, false));
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const struct ir_output *o = &g->outputs[i];
        if (o->kind == IR_OUT_OUTPUT && !dc_is_added(m, o->name))
            cJSON_AddItemToArray(outputs, value_of(m, o->name, &g->values[o->value].type, true));
    }
    for (size_t i = 0; i < m->n_heads; i++) cJSON_AddItemToArray(logits, cJSON_CreateString(m->heads[i].logits));
    const struct fe_decision *d = fe_decisions(m->file, &n);
    for (size_t i = 0; i < n; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", d[i].name);
        cJSON_AddNumberToObject(o, "numbers", (double)d[i].n);
        cJSON_AddStringToObject(o, "is", d[i].trained ? "parameter" : d[i].frozen ? "frozen" : "constant");
        cJSON_AddStringToObject(o, "why", d[i].why);
        cJSON_AddItemToArray(tensors, o);
    }
    add_count(j, "parameters", &parameters);
    add_count(j, "statistics", &statistics);
    cJSON_AddNumberToObject(j, "nodes", (double)g->n_nodes);
}

void dc_check_json(const struct dc_model *m, bool compiles, const struct dc_said *said) {
    static const char *const severities[] = {[DIAG_NOTE] = "note", [DIAG_WARNING] = "warning", [DIAG_ERROR] = "error"};
    cJSON *j = cJSON_CreateObject();
    cJSON_AddBoolToObject(j, "compiles", compiles);
    cJSON_AddBoolToObject(j, "trains", compiles && m->n_params > m->n_untrained);
    if (m->imported) add_graph(j, m);
    if (compiles) cJSON_AddNumberToObject(j, "untrained", (double)m->n_untrained);
    cJSON *messages = cJSON_AddArrayToObject(j, "messages");
    for (size_t i = 0; i < said->n; i++) {
        const char *text = said->lines[i].text, *at = strstr(text, ": ");
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "severity", severities[said->lines[i].sev]);
        cJSON_AddStringToObject(o, "text", at ? at + 2 : text);
        cJSON_AddItemToArray(messages, o);
    }
    char *text = cJSON_Print(j);
    CHECK(text, "out of memory for the report");
    puts(text);
    cJSON_free(text);
    cJSON_Delete(j);
}
