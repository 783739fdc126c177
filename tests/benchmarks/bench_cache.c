// What a lookup costs, in memory and on disk: `bench_cache [FOLDER]`, the folder of the database (default /tmp). Not
// run by the tests. Each figure is the least of many runs: other programs on the machine make them longer, never
// shorter.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "key.h"
#include "moejit/moejit.h"
#include "run/plan.h"
#include "store.h"

#define NUM_IMAGES 64
#define IMAGE_BYTES 100000
#define KEY_BYTES 2500 // as long as a gate_up kernel's
#define NUM_ROUNDS 50
#define NUM_FINDS 1000000

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static int compare(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void warn(void *user, const char *text) {
    (void)user;
    fprintf(stderr, "%s\n", text);
}

static struct mj_text make_key(int idx) {
    char text[KEY_BYTES];
    struct mj_text key = {0};
    memset(text, 'x', sizeof(text));
    snprintf(text, sizeof(text), "kernel %d", idx);
    mj_key_append(&key, "unit", text, sizeof(text));
    return key;
}

static void fill(struct mj_store *store) {
    char *image = malloc(IMAGE_BYTES);
    if (image == NULL) exit(1);
    for (int i = 0; i < NUM_IMAGES; i++) {
        struct mj_text key = make_key(i);
        for (int j = 0; j < IMAGE_BYTES; j++) image[j] = (char)(j * 31 + i * 7 + j / 251);
        // A cubin of 100 KB in all its forms: the PTX is the smaller part here.
        const struct mj_image_form forms[] = {{"cubin", image, IMAGE_BYTES * 3 / 4}, {"ptx", image, IMAGE_BYTES / 4}};
        mj_store_insert(store, &key, "nvrtc 13.0", 13000, forms, 2);
        mj_text_free(&key);
    }
    free(image);
}

static double time_lookup(struct mj_store *store, const struct mj_text *key) {
    static const char *const formats[] = {"cubin", "ptx", NULL};
    const struct mj_lookup lookup = {formats, 2, NULL, 0};
    struct mj_blob images[MJ_MAX_FORMATS];
    char toolchain[64];
    double start = now_us();
    if (!mj_store_lookup(store, key, &lookup, images, toolchain)) exit(1);
    double us = now_us() - start;
    for (int i = 0; i < MJ_MAX_FORMATS; i++) free(images[i].data);
    return us;
}

static void bench_disk(const char *folder) {
    static double us[NUM_ROUNDS * NUM_IMAGES];
    char place[512], path[600], command[600];
    int num = 0;
    snprintf(place, sizeof(place), "%s/moejit_bench_XXXXXX", folder);
    if (mkdtemp(place) == NULL) {
        perror(place);
        exit(1);
    }
    snprintf(path, sizeof(path), "%s/kernels.db", place);
    const struct mj_store_options options = {.path = path, .packs = "", .warn = warn};
    struct mj_store *store = mj_store_open(&options);
    fill(store);
    mj_store_close(store);
    double start = now_us();
    store = mj_store_open(&options);
    printf("opening the database: %.0f us\n", now_us() - start);
    for (int round = 0; round < NUM_ROUNDS; round++) {
        for (int i = 0; i < NUM_IMAGES; i++) {
            struct mj_text key = make_key(i);
            us[num++] = time_lookup(store, &key);
            mj_text_free(&key);
        }
    }
    mj_store_close(store);
    qsort(us, (size_t)num, sizeof(us[0]), compare);
    printf("hit on disk, %d bytes, verified: least %.1f us, median %.1f us, of %d lookups\n", IMAGE_BYTES, us[0],
           us[num / 2], num);
    snprintf(command, sizeof(command), "rm -rf '%s'", place);
    if (system(command) != 0) exit(1);
}

// A kernel of a plan by what it is: how forward finds it.
static void bench_memory(void) {
    struct moejit_plan *plan = calloc(1, sizeof(*plan));
    double least = 1e9;
    uintptr_t sum = 0;
    if (plan == NULL) exit(1);
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        plan->kernels[plan->num_kernels++] =
            (struct mj_loaded_kernel){.id = mj_kernel_gate_up(&mj_tiles[tile]), .tile_idx = tile};
        plan->kernels[plan->num_kernels++] =
            (struct mj_loaded_kernel){.id = mj_kernel_down(&mj_tiles[tile]), .tile_idx = tile};
    }
    for (int round = 0; round < NUM_ROUNDS; round++) {
        double start = now_us();
        for (int i = 0; i < NUM_FINDS / NUM_ROUNDS; i++) {
            int tile = MJ_NUM_TILES - 1 - i % 2; // the last ones: the worst
            sum += (uintptr_t)mj_plan_find(plan, mj_kernel_down(&mj_tiles[tile]), tile);
        }
        double us = (now_us() - start) / (NUM_FINDS / NUM_ROUNDS);
        if (us < least) least = us;
    }
    printf("lookup in memory by descriptor, the last of %d kernels: least %.1f ns (no allocation; %" PRIxPTR ")\n",
           plan->num_kernels, least * 1000, sum & 15);
    free(plan);
}

int main(int argc, char **argv) {
    bench_memory();
    bench_disk(argc > 1 ? argv[1] : "/tmp");
    return 0;
}
