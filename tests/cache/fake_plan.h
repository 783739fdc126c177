// What the tests of the cache share: plans of small layers for an arch alone, compiled by the fake NVRTC.
#ifndef MOEJIT_TEST_FAKE_PLAN_H
#define MOEJIT_TEST_FAKE_PLAN_H

#include "moejit/moejit.h"

#define NUM_FAKE_ARCHS 8
extern const char *const fake_archs[NUM_FAKE_ARCHS];

struct fake_outcome {
    moejit_status status;
    int num_kernels;
    char message[2048];
    moejit_context_counters counters;
    int warnings;
    char warning[2048];
};

// Options for an arch: the cache at `path`, no packs, the fake NVRTC of the environment variable FAKE_NVRTC.
void fake_options(moejit_context_options *options, const char *arch, const char *path);
// Makes a context, and in it a plan of one token, and destroys both.
void fake_plan(const moejit_context_options *options, struct fake_outcome *outcome);

// A new empty folder; the caller removes it.
void fake_folder(char folder[64]);
void fake_remove(const char *folder);
// Opens the database, checks it, and verifies every row. The number of keys that have cubin and PTX.
int fake_count_keys(const char *path);

#endif
