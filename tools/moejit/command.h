// The subcommands of `moejit`, and what they share.
#ifndef MOEJIT_TOOL_COMMAND_H
#define MOEJIT_TOOL_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "moejit/moejit.h"

enum exit_code { // stable
    EXIT_GOOD = 0,
    EXIT_WRONG = 1,       // a check failed
    EXIT_USAGE = 2,       // the command line is wrong
    EXIT_UNAVAILABLE = 3, // no GPU, no NVRTC, an unsupported layer, a failed compile
};

int command_run(int argc, char **argv);
int command_prefill(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_cache(int argc, char **argv);
int command_inspect_checkpoint(int argc, char **argv);
int command_inspect_cost(int argc, char **argv); // argv[0]: "cost"
int command_doctor(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_tune(int argc, char **argv);

// Prints "moejit NAME: sentence" and how to get help; returns EXIT_USAGE.
__attribute__((format(printf, 2, 3))) int command_usage(const char *name, const char *format, ...);

// Whole decimal numbers from low to high; false, with the sentence printed.
bool command_number(const char *name, const char *option, const char *text, long long low, long long high,
                    long long *number);
// The index of text among words (ended by NULL); false, with the choices printed.
bool command_choice(const char *name, const char *option, const char *text, const char *const *words, int *choice);

// To stdout, in quotes.
void command_json_string(const char *text, size_t length);

// Warnings of the library to stderr.
void command_log(void *user, moejit_log_level level, const char *text);

// A line that is drawn again and again on a terminal; nothing elsewhere. Usable as moejit_progress_fn.
int command_progress(void *title, int32_t done, int32_t total, const char *current);

#endif
