// malloc and its kin, of moejit and of SQLite, whose n-th call gives no memory. For programs linked with
// -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc.
#ifndef MOEJIT_TEST_FAULTY_MALLOC_H
#define MOEJIT_TEST_FAULTY_MALLOC_H

#include <stdbool.h>

// SQLite's, too; before its first use.
void faulty_malloc_install(void);
// The n-th call from now fails (n from 1), and with `all` every one after it. n 0: none does.
void faulty_malloc_arm(int n, bool all);
bool faulty_malloc_fired(void);

#endif
