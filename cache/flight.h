// One compile a key over all threads and processes that share a database: a lock on a byte of a file beside it. The
// kernel releases such a lock with its owner, however that ends.
#ifndef MOEJIT_CACHE_FLIGHT_H
#define MOEJIT_CACHE_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "key.h"

struct mj_flight {
    int descriptor; // -1: there is no file, nobody waits
    int64_t bound_ms;
};

enum mj_turn {
    MJ_TURN_OURS,  // the lock is ours: look once more, then compile
    MJ_TURN_WAIT,  // somebody else compiles: ask again in a moment
    MJ_TURN_ALONE, // no lock can be had, or one owner had it for longer than the bound: compile all the same
};

struct mj_flight_wait { // zero before the first call
    uint64_t owner;     // who had the lock when last seen
    int64_t since_ms;   // since when
    bool begun;
};

// One flight may hold the locks of several keys; it must not ask for one that it holds.
// The file is made where there is none; one that cannot be is no error.
void mj_flight_open(struct mj_flight *flight, const char *path, int64_t bound_ms);
void mj_flight_close(struct mj_flight *flight);
enum mj_turn mj_flight_take(struct mj_flight *flight, const unsigned char hash[MJ_HASH_BYTES],
                            struct mj_flight_wait *wait);
void mj_flight_leave(struct mj_flight *flight, const unsigned char hash[MJ_HASH_BYTES]);

#endif
