#define _GNU_SOURCE // locks of the open file, not of the process: two contexts of one process exclude each other
#include "flight.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NUM_TICKETS 1024

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t byte_of(const unsigned char hash[MJ_HASH_BYTES]) {
    uint64_t byte;
    memcpy(&byte, hash, sizeof(byte));
    return (int64_t)(byte >> 2);
}

// Where an owner leaves a ticket, so that who waits sees one owner follow another.
static off_t ticket_of(int64_t byte) {
    return (off_t)(byte % NUM_TICKETS) * (off_t)sizeof(uint64_t);
}

static int set_lock(const struct mj_flight *flight, short type, int64_t byte) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(flight->descriptor, F_OFD_SETLK, &lock);
}

void mj_flight_open(struct mj_flight *flight, const char *path, int64_t bound_ms) {
    struct stat status;
    flight->bound_ms = bound_ms;
    flight->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (flight->descriptor < 0) return;
    // What somebody else may lock could keep us waiting.
    if (fstat(flight->descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
        (status.st_mode & (S_IWGRP | S_IWOTH)) == 0) {
        return;
    }
    close(flight->descriptor);
    flight->descriptor = -1;
}

void mj_flight_close(struct mj_flight *flight) {
    if (flight->descriptor >= 0) close(flight->descriptor);
    flight->descriptor = -1;
}

static void leave_ticket(const struct mj_flight *flight, int64_t byte) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ticket = ((uint64_t)getpid() << 32) ^ ((uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec);
    // One that cannot be written makes others wait for less.
    ssize_t written = pwrite(flight->descriptor, &ticket, sizeof(ticket), ticket_of(byte));
    (void)written;
}

// Whether the lock's present owner has had it for longer than the bound.
static bool waited_too_long(const struct mj_flight *flight, int64_t byte, struct mj_flight_wait *wait) {
    uint64_t owner = 0;
    if (pread(flight->descriptor, &owner, sizeof(owner), ticket_of(byte)) < 0) owner = 0;
    if (!wait->begun || owner != wait->owner) {
        wait->owner = owner;
        wait->since_ms = now_ms();
        wait->begun = true;
    }
    return now_ms() - wait->since_ms >= flight->bound_ms;
}

enum mj_turn mj_flight_take(struct mj_flight *flight, const unsigned char hash[MJ_HASH_BYTES],
                            struct mj_flight_wait *wait) {
    if (flight->descriptor < 0) return MJ_TURN_ALONE;
    int64_t byte = byte_of(hash);
    if (set_lock(flight, F_WRLCK, byte) == 0) {
        leave_ticket(flight, byte);
        return MJ_TURN_OURS;
    }
    // EAGAIN is a lock of somebody else's; anything else is a file system without locks.
    struct flock probe = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(flight->descriptor, F_OFD_GETLK, &probe) != 0) return MJ_TURN_ALONE;
    if (waited_too_long(flight, byte, wait)) return MJ_TURN_ALONE;
    return MJ_TURN_WAIT;
}

void mj_flight_leave(struct mj_flight *flight, const unsigned char hash[MJ_HASH_BYTES]) {
    if (flight->descriptor >= 0) set_lock(flight, F_UNLCK, byte_of(hash));
}
