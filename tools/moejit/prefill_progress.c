#include "prefill_progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 24
#define DRAW_S 0.1 // between two drawings
#define TELL_S 10  // between two lines in a log

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void prefill_progress_start(struct prefill_progress *progress, int total, bool json) {
    *progress = (struct prefill_progress){.json = json, .terminal = !json && isatty(STDERR_FILENO), .total = total};
    progress->start_s = progress->told_s = now_s();
}

double prefill_progress_seconds(const struct prefill_progress *progress) {
    return now_s() - progress->start_s;
}

static int count_running(const char *running) {
    int num = running[0] != '\0';
    for (; *running != '\0'; running++) num += *running == ',';
    return num;
}

// "1.9/s, 0:15 left", or "" as long as nothing is done.
static void write_rate(const struct prefill_progress *progress, char *text, size_t bytes) {
    double seconds = prefill_progress_seconds(progress);
    text[0] = '\0';
    if (progress->done == 0 || seconds <= 0) return;
    double rate = progress->done / seconds;
    int left = (int)((progress->total - progress->done) / rate + 0.5);
    snprintf(text, bytes, ", %.1f/s, %d:%02d left", rate, left / 60, left % 60);
}

static int terminal_width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1 : 79;
}

static void draw(const struct prefill_progress *progress, const char *title) {
    char bar[BAR_WIDTH + 1], rate[64], line[1024];
    int filled = progress->total > 0 ? BAR_WIDTH * progress->done / progress->total : BAR_WIDTH;
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    write_rate(progress, rate, sizeof(rate));
    snprintf(line, sizeof(line), "[%s] %d/%d%s, %d running: %s: %s", bar, progress->done, progress->total, rate,
             count_running(progress->running), title, progress->running);
    fprintf(stderr, "\r\033[K%.*s", terminal_width(), line);
    fflush(stderr);
}

static void print_event(const struct prefill_progress *progress, const char *title) {
    double seconds = prefill_progress_seconds(progress), rate = seconds > 0 ? progress->done / seconds : 0;
    printf("{\"event\": \"progress\", \"done\": %d, \"total\": %d, \"layer\": \"%s\", \"running\": \"%s\", "
           "\"per_second\": %.2f",
           progress->done, progress->total, title, progress->running, rate);
    if (rate > 0) printf(", \"seconds_left\": %.0f", (progress->total - progress->done) / rate);
    printf("}\n");
    fflush(stdout);
}

void prefill_progress_update(struct prefill_progress *progress, const char *title, int done, const char *running) {
    bool changed = done != progress->done || strcmp(running, progress->running) != 0;
    double now = now_s();
    progress->done = done;
    snprintf(progress->running, sizeof(progress->running), "%s", running);
    if (progress->json) {
        if (changed) print_event(progress, title);
    } else if (progress->terminal) {
        if (changed || now - progress->drawn_s >= DRAW_S) draw(progress, title);
        progress->drawn_s = now;
    } else if (now - progress->told_s >= TELL_S) {
        char rate[64];
        write_rate(progress, rate, sizeof(rate));
        fprintf(stderr, "moejit prefill: %d of %d compiled%s, %d running: %s: %s\n", done, progress->total, rate,
                count_running(running), title, running);
        progress->told_s = now;
    }
}

void prefill_progress_clear(const struct prefill_progress *progress) {
    if (progress->terminal) fprintf(stderr, "\r\033[K");
}
