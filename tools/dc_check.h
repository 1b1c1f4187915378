// What the files of smkdc check share.
#ifndef SMKD_TOOLS_DC_CHECK_H
#define SMKD_TOOLS_DC_CHECK_H

#include "dc.h"

struct dc_check_count {
    int64_t numbers;
    size_t tensors;
};
// Of what is trained, and of running statistics.
void dc_check_count(const struct dc_model *m, struct dc_check_count *parameters, struct dc_check_count *statistics);
// One object on standard output.
void dc_check_json(const struct dc_model *m, bool compiles, const struct dc_said *said);

#endif
