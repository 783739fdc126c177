// One compiler process: started, written to, read from, ended. What it means is compile_pool's.
#ifndef MOEJIT_JIT_COMPILE_PROCESS_H
#define MOEJIT_JIT_COMPILE_PROCESS_H

#include "jit/compile_pool.h"

// Where the helper is; false: nowhere.
bool mj_compile_process_find(const char *option, char *path, size_t bytes);
// False, with the sentence, where none can be started.
bool mj_compile_process_start(struct mj_compile_worker *worker, const char *helper, const char *nvrtc, char *why,
                              size_t why_bytes);
// Kills it where it still runs. ending (may be NULL): how it ended, with the end of what it printed; *killed: by
// SIGKILL.
void mj_compile_process_end(struct mj_compile_worker *worker, struct mj_text *ending, bool *blameless);

// Moves bytes as far as that goes without waiting. False: the process has closed its end.
bool mj_compile_process_send(struct mj_compile_worker *worker);
bool mj_compile_process_receive(struct mj_compile_worker *worker);

#endif
