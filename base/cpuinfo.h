// What Linux says of the first processor.
#ifndef SMKD_BASE_CPUINFO_H
#define SMKD_BASE_CPUINFO_H

enum { CPUINFO_ROOM = 16384 };

// The value of "model name", "flags" and so on in /proc/cpuinfo, kept in `room`; "" where it is not told. Allocates
// nothing: a lack of memory must not look like a machine that says nothing.
const char *cpuinfo(const char *key, char room[CPUINFO_ROOM]);

#endif
