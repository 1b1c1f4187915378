// --config FILE.json: flags from a file, as if they stood on the command line, whose own win.
#ifndef SMKD_TOOLS_CONFIG_ARGS_H
#define SMKD_TOOLS_CONFIG_ARGS_H

#include "../runtime/runtime.h"
#include "args.h"

struct config_args {
    int argc;
    char **argv; // the command line's, then those of the file; owned, with the texts of the latter
    int own;     // how many are the command line's
};

// The file is an object with a member for each flag, "lr-gamma" or "lr_gamma": a number, a text, true (false and null:
// not given), or a list for a flag that may be repeated. A run folder's config.json is such a file, too: its "config",
// and its peers' artifacts as --peer. `aliases` ends with NULL: pairs of flags that mean the same. SMKD_R_OK without
// --config; else what is wrong has been said (rt_fail). Release also after a failure.
enum smkd_result config_args_read(struct config_args *c, int argc, char **argv, const char *const (*aliases)[2]);
void config_args_release(struct config_args *c);
// After parsing: whether a member of the file is no flag of `opts` (a typing error), named with the file. Members of a
// run folder's file that its method does not have are of another version and pass.
enum smkd_result config_args_check(const struct config_args *c, const struct args_opt *opts);

// What such files share with others that hold flags. The flag that a member means: its name with - for _, cut to what
// any flag has.
enum { CONFIG_ARGS_FLAG = 64 };
void config_args_flag(const char *key, char flag[CONFIG_ARGS_FLAG]);
struct cJSON;
// The text of a number or of a text, as the command line would have it, added to `out`; false for anything else.
bool config_args_text(const struct cJSON *v, struct str *out);

#endif
