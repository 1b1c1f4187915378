// The key-value pairs of an ONNX file (metadata_props).
#include "onnx_internal.h"

#include <stdlib.h>
#include <string.h>

const struct fe_meta *fe_metadata(const struct fe_model *m, const char *prefix, size_t *n) {
    const Onnx__ModelProto *p = m->proto;
    struct fe_meta *all = ARENA_ARRAY(m->arena, struct fe_meta, p->n_metadata_props);
    *n = 0;
    for (size_t i = 0; i < p->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *e = p->metadata_props[i];
        bool known = false;
        if (!e->key || !e->value || !str_has_prefix(e->key, prefix)) continue;
        for (size_t k = 0; k < *n; k++) known |= !strcmp(all[k].key, e->key); // the first of a key is the one
        if (!known) all[(*n)++] = (struct fe_meta){arena_strdup(m->arena, e->key), arena_strdup(m->arena, e->value)};
    }
    return all;
}

void fe_set_metadata(Onnx__ModelProto *m, const char *key, const char *value) {
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (m->metadata_props[i]->key && !strcmp(m->metadata_props[i]->key, key)) {
            free(m->metadata_props[i]->value);
            m->metadata_props[i]->value = fe_text(value);
            return;
        }
    Onnx__StringStringEntryProto *e = xmalloc(sizeof *e);
    onnx__string_string_entry_proto__init(e);
    e->key = fe_text(key);
    e->value = fe_text(value);
    m->metadata_props = xrealloc(m->metadata_props, (m->n_metadata_props + 1) * sizeof *m->metadata_props);
    m->metadata_props[m->n_metadata_props++] = e;
}

void fe_drop_metadata(Onnx__ModelProto *p, const char *key) {
    size_t kept = 0;
    for (size_t i = 0; i < p->n_metadata_props; i++) {
        if (p->metadata_props[i]->key && !strcmp(p->metadata_props[i]->key, key))
            onnx__string_string_entry_proto__free_unpacked(p->metadata_props[i], NULL);
        else
            p->metadata_props[kept++] = p->metadata_props[i];
    }
    p->n_metadata_props = kept;
}
