#include "config_args.h"

#include "../runtime/run_config.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *value_of(int argc, char **argv, const char *flag) {
    size_t n = strlen(flag);
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, flag, n) != 0) continue;
        if (argv[i][2 + n] == '=') return argv[i] + 3 + n;
        if (!argv[i][2 + n]) return i + 1 < argc ? argv[i + 1] : "";
    }
    return NULL;
}

static bool on_command_line(const struct config_args *c, const char *flag, const char *const (*aliases)[2]) {
    if (value_of(c->own, c->argv, flag)) return true;
    if (strcmp(flag, "output-dir") == 0)
        for (int i = 0; i < c->own; i++)
            if (strncmp(c->argv[i], "-o", 2) == 0) return true;
    for (; aliases && (*aliases)[0]; aliases++)
        for (int k = 0; k < 2; k++)
            if (strcmp((*aliases)[k], flag) == 0 && value_of(c->own, c->argv, (*aliases)[1 - k])) return true;
    return false;
}

static void push(struct config_args *c, const char *text) {
    c->argv = xrealloc(c->argv, ((size_t)c->argc + 2) * sizeof *c->argv);
    c->argv[c->argc++] = xstrdup(text);
    c->argv[c->argc] = NULL;
}

bool config_args_text(const cJSON *v, struct str *out) {
    char text[RT_NUMBER_TEXT];
    if (cJSON_IsString(v)) {
        str_add(out, cJSON_GetStringValue(v));
    } else if (cJSON_IsNumber(v)) {
        double x = v->valuedouble;
        if (x == floor(x) && fabs(x) <= 9007199254740992.0)
            snprintf(text, sizeof text, "%.0f", x);
        else
            rt_number_text(x, text);
        str_add(out, text);
    } else {
        return false;
    }
    return true;
}

// --flag=VALUE; false where the value is none that a flag can have.
static bool add(struct config_args *c, const char *flag, const cJSON *v) {
    struct str s = STR_INIT;
    str_addf(&s, "--%s%s", flag, cJSON_IsTrue(v) ? "" : "=");
    bool ok = cJSON_IsTrue(v) || config_args_text(v, &s);
    if (ok) push(c, s.s);
    str_release(&s);
    return ok;
}

void config_args_flag(const char *key, char flag[CONFIG_ARGS_FLAG]) {
    size_t n = 0;
    for (; key[n] && n + 1 < CONFIG_ARGS_FLAG; n++) flag[n] = key[n] == '_' ? '-' : key[n];
    flag[n] = 0;
}

static enum smkd_result add_member(struct config_args *c, const char *path, const cJSON *v,
                                   const char *const (*aliases)[2]) {
    char flag[CONFIG_ARGS_FLAG];
    config_args_flag(v->string, flag);
    if (strcmp(flag, "config") == 0)
        return rt_fail(SMKD_R_INVALID, "%s: \"config\" beside other flags: a file names no other file", path);
    if (on_command_line(c, flag, aliases) || cJSON_IsNull(v) || cJSON_IsFalse(v)) return SMKD_R_OK;
    bool ok = true;
    const cJSON *x;
    if (cJSON_IsArray(v)) {
        cJSON_ArrayForEach(x, v) ok = ok && add(c, flag, x);
    } else {
        ok = add(c, flag, v);
    }
    return ok ? SMKD_R_OK
              : rt_fail(SMKD_R_INVALID, "%s: \"%s\" is neither a number, a text, true or false, nor a list of these",
                        path, v->string);
}

static enum smkd_result add_file(struct config_args *c, const char *path, const cJSON *root,
                                 const char *const (*aliases)[2]) {
    const cJSON *run = cJSON_GetObjectItemCaseSensitive(root, "config"), *v;
    if (!cJSON_IsObject(root)) return rt_fail(SMKD_R_INVALID, "%s: is no JSON object of flags", path);
    const cJSON *members = cJSON_IsObject(run) ? run : root;
    cJSON_ArrayForEach(v, members) {
        enum smkd_result r = add_member(c, path, v, aliases);
        if (r != SMKD_R_OK) return r;
    }
    if (!cJSON_IsObject(run) || on_command_line(c, "peer", aliases)) return SMKD_R_OK;
    const cJSON *peers = cJSON_GetObjectItemCaseSensitive(root, "peers");
    cJSON_ArrayForEach(v, peers) {
        const cJSON *artifact = cJSON_GetObjectItemCaseSensitive(v, "artifact");
        if (cJSON_IsString(artifact)) add(c, "peer", artifact);
    }
    return SMKD_R_OK;
}

enum smkd_result config_args_read(struct config_args *c, int argc, char **argv, const char *const (*aliases)[2]) {
    *c = (struct config_args){.argc = argc, .own = argc, .argv = xcalloc((size_t)argc + 1, sizeof *c->argv)};
    for (int i = 0; i < argc; i++) c->argv[i] = argv[i];
    const char *path = value_of(argc, argv, "config");
    if (!path || !*path) return SMKD_R_OK; // without a value: the parser says so
    cJSON *root = rt_json_read(path);
    enum smkd_result r = root ? add_file(c, path, root, aliases) : SMKD_R_INVALID;
    cJSON_Delete(root);
    return r;
}

void config_args_release(struct config_args *c) {
    for (int i = c->own; i < c->argc; i++) free(c->argv[i]);
    free(c->argv);
    *c = (struct config_args){0};
}

enum smkd_result config_args_check(const struct config_args *c, const struct args_opt *opts) {
    for (int i = c->own; i < c->argc; i++) {
        const char *flag = c->argv[i] + 2;
        size_t n = strcspn(flag, "=");
        const struct args_opt *o = opts;
        while (o->name && !(strlen(o->name) == n && strncmp(o->name, flag, n) == 0)) o++;
        if (o->name) continue;
        return rt_fail(SMKD_R_INVALID, "%s: \"%.*s\" is no flag of this command with this method; see its --help",
                       value_of(c->own, c->argv, "config"), (int)n, flag);
    }
    return SMKD_R_OK;
}
