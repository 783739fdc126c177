// Reading what the outside gives: option structs of other versions, and the environment.
#ifndef MOEJIT_BASE_OPTIONS_H
#define MOEJIT_BASE_OPTIONS_H

#include "base/error.h"

// Copies a caller's struct into ours, whose size is `bytes`; the first member of both is struct_size. Fields that the
// caller's (older) struct lacks stay as they are in `ours`. A newer struct is fine as long as what we do not know is
// zero.
moejit_status mj_options_read(const char *name, void *ours, size_t bytes, const void *theirs, struct mj_error *error);

// The option where it is set, else the variable, else NULL; an empty variable counts as unset.
const char *mj_options_string(const char *option, const char *variable);

#endif
