// Everything in base/: lifetimes, text, diagnostics, status codes, files. Includes nothing of ours.
#ifndef SMKD_BASE_H
#define SMKD_BASE_H
#include "arena.h"
#include "budget.h"
#include "checked.h"
#include "cpuinfo.h"
#include "diag.h"
#include "glob.h"
#include "guard.h"
#include "io.h"
#include "json.h"
#include "lock.h"
#include "seal.h"
#include "status.h"
#include "str.h"
#endif
