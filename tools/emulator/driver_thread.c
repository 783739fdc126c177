#include "driver_thread.h"

#include <stdatomic.h>

static _Atomic uint64_t next_id = 1;
static _Thread_local uint64_t own_id;

uint64_t emu_thread_id(void) {
    if (own_id == 0) own_id = atomic_fetch_add(&next_id, 1);
    return own_id;
}
