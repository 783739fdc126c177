// A file system for SQLite whose n-th operation of a kind fails, over the real one.
#ifndef MOEJIT_TEST_FAULTY_VFS_H
#define MOEJIT_TEST_FAULTY_VFS_H

#include <stdbool.h>

enum fault_kind {
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_FULL, // a write, for a full disk
    FAULT_SYNC,
    FAULT_LOCK,
    FAULT_TRUNCATE,
    FAULT_SIZE,
    FAULT_DELETE,
    FAULT_ACCESS,
    NUM_FAULT_KINDS
};
extern const char *const fault_names[NUM_FAULT_KINDS];

// Becomes SQLite's default, for ever.
void faulty_vfs_install(void);
// From now on the n-th operation of the kind fails (n from 1), and with `all` every one after it. n 0: none does.
void faulty_vfs_arm(enum fault_kind kind, int n, bool all);
// Whether one has failed since.
bool faulty_vfs_fired(void);

#endif
