#include "faulty_vfs.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

const char *const fault_names[NUM_FAULT_KINDS] = {
    "open", "read", "write", "write on a full disk", "sync", "lock", "truncate", "size", "delete", "access"};

static sqlite3_vfs *real, faulty;
static enum fault_kind armed_kind;
static int countdown; // 0: nothing is armed
static bool fail_all, fired;

void faulty_vfs_arm(enum fault_kind kind, int n, bool all) {
    armed_kind = kind;
    countdown = n;
    fail_all = all;
    fired = false;
}

bool faulty_vfs_fired(void) {
    return fired;
}

static bool fails(enum fault_kind kind) {
    if (kind != armed_kind || countdown == 0) return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    if (!fail_all) countdown = 0;
    fired = true;
    return true;
}

struct file { // the real one lies behind it
    sqlite3_file base;
};

static sqlite3_file *real_file(sqlite3_file *file) {
    return (sqlite3_file *)((struct file *)file + 1);
}

static int close_file(sqlite3_file *file) {
    return real_file(file)->pMethods->xClose(real_file(file));
}

static int read_file(sqlite3_file *file, void *data, int bytes, sqlite3_int64 offset) {
    if (fails(FAULT_READ)) return SQLITE_IOERR_READ;
    return real_file(file)->pMethods->xRead(real_file(file), data, bytes, offset);
}

// Half of it is written where it fails, as a disk may do.
static int write_file(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset) {
    bool full = fails(FAULT_FULL);
    if (full || fails(FAULT_WRITE)) {
        real_file(file)->pMethods->xWrite(real_file(file), data, bytes / 2, offset);
        return full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return real_file(file)->pMethods->xWrite(real_file(file), data, bytes, offset);
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 bytes) {
    if (fails(FAULT_TRUNCATE)) return SQLITE_IOERR_TRUNCATE;
    return real_file(file)->pMethods->xTruncate(real_file(file), bytes);
}

static int sync_file(sqlite3_file *file, int flags) {
    if (fails(FAULT_SYNC)) return SQLITE_IOERR_FSYNC;
    return real_file(file)->pMethods->xSync(real_file(file), flags);
}

static int size_of_file(sqlite3_file *file, sqlite3_int64 *bytes) {
    if (fails(FAULT_SIZE)) return SQLITE_IOERR_FSTAT;
    return real_file(file)->pMethods->xFileSize(real_file(file), bytes);
}

static int lock_file(sqlite3_file *file, int kind) {
    if (fails(FAULT_LOCK)) return SQLITE_IOERR_LOCK;
    return real_file(file)->pMethods->xLock(real_file(file), kind);
}

static int unlock_file(sqlite3_file *file, int kind) {
    return real_file(file)->pMethods->xUnlock(real_file(file), kind);
}

static int check_reserved(sqlite3_file *file, int *reserved) {
    if (fails(FAULT_LOCK)) return SQLITE_IOERR_CHECKRESERVEDLOCK;
    return real_file(file)->pMethods->xCheckReservedLock(real_file(file), reserved);
}

static int control_file(sqlite3_file *file, int what, void *value) {
    return real_file(file)->pMethods->xFileControl(real_file(file), what, value);
}

static int sector_size(sqlite3_file *file) {
    return real_file(file)->pMethods->xSectorSize(real_file(file));
}

static int characteristics(sqlite3_file *file) {
    return real_file(file)->pMethods->xDeviceCharacteristics(real_file(file));
}

static const sqlite3_io_methods methods = {
    1,         close_file,  read_file,      write_file,   truncate_file, sync_file,       size_of_file,
    lock_file, unlock_file, check_reserved, control_file, sector_size,   characteristics, NULL,
    NULL,      NULL,        NULL,           NULL,         NULL,
};

static int open_file(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags) {
    (void)vfs;
    memset(file, 0, (size_t)faulty.szOsFile);
    if (fails(FAULT_OPEN)) return SQLITE_CANTOPEN;
    int result = real->xOpen(real, path, real_file(file), flags, out_flags);
    if (result == SQLITE_OK) file->pMethods = &methods;
    return result;
}

static int delete_file(sqlite3_vfs *vfs, const char *path, int sync) {
    (void)vfs;
    return fails(FAULT_DELETE) ? SQLITE_IOERR_DELETE : real->xDelete(real, path, sync);
}

static int access_file(sqlite3_vfs *vfs, const char *path, int flags, int *result) {
    (void)vfs;
    return fails(FAULT_ACCESS) ? SQLITE_IOERR_ACCESS : real->xAccess(real, path, flags, result);
}

void faulty_vfs_install(void) {
    real = sqlite3_vfs_find(NULL);
    faulty = *real;
    faulty.zName = "faulty";
    faulty.pNext = NULL;
    faulty.szOsFile = (int)sizeof(struct file) + real->szOsFile;
    faulty.xOpen = open_file;
    faulty.xDelete = delete_file;
    faulty.xAccess = access_file;
    if (sqlite3_vfs_register(&faulty, 1) != SQLITE_OK) abort();
}
