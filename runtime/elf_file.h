// An artifact's file as data: looked at, and its tables read, without a single instruction of it being run. Everything
// the file says about itself is compared with its size before it is used.
#ifndef SMKD_RT_ELF_FILE_H
#define SMKD_RT_ELF_FILE_H

#include "runtime.h"

struct rt_elf {
    const char *path;
    int fd; // the file that was checked: what is loaded is this one, whatever the name stands for by then
    const unsigned char *bytes;
    size_t size;
};

// Opens and maps `path`, and checks that it is whole (its seal) and of the shape that smkdc writes: a shared object for
// x86-64 that wants no other library and has nothing that runs when it is loaded. Release with rt_elf_close.
enum smkd_result rt_elf_open(struct rt_elf *e, const char *path);
void rt_elf_close(struct rt_elf *e);

// A private image of the file as the dynamic loader would lay it out, with its pointers set but nothing executable, and
// the table of the artifact in it: every string ends inside, every array lies inside. Release with munmap.
struct rt_elf_image {
    char *at;
    size_t bytes;
    const struct smkd_artifact *artifact;
};
// SMKD_R_MISMATCH for artifacts from before there was a table to find.
enum smkd_result rt_elf_image(const struct rt_elf *e, struct rt_elf_image *out);

// Where the table of a version ends; later fields are not the artifact's.
size_t rt_table_bytes(uint32_t abi_version);

#endif
