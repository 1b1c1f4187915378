#!/usr/bin/env bash
# quick: the samples' scripts are valid, and say what is missing before they install or build anything
. "$SMKD_SRC/tests/tools/common.bash"
for f in "$SMKD_SRC"/samples/*.sh; do bash -n "$f" || fail "$f"; done
refuses 'usage: samples/photos.sh FOLDER' "$SMKD_SRC/samples/photos.sh"
mkdir -p photos/train/daisy
refuses 'photos: has no folders train and val, with a folder of photographs for each class in them' "$SMKD_SRC/samples/photos.sh" photos
echo ok
