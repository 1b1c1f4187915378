// config.json of a run folder: written when a run starts, compared when it goes on.
#ifndef SMKD_RT_RUN_FOLDER_H
#define SMKD_RT_RUN_FOLDER_H

#include "train.h"

// Makes the folder ready: refuses to touch results unless resuming or overwriting; on resume checks that configuration,
// peers, loss and data are those of config.json (and reports every flag that differs); else writes config.json and
// labels.npy. *resuming is set when there is a checkpoint to go on from.
enum smkd_result rt_folder_open(const struct rt_train *t, const struct rt_train_data *d, int threads, bool *resuming);

struct cJSON;
// Whether an artifact is the network of a member of config.json's "peers": its graph, and its initial weights.
bool rt_folder_has_peer(const struct cJSON *was, const smkd_model *m);

#endif
