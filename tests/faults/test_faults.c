// Every operation of the file system and every allocation fails, one after the other, for all n until none is left: the
// cache gives the right image or a miss, tells at most once, and is whole again when the fault is gone.
#include "../cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faulty_malloc.h"
#include "faulty_vfs.h"
#include "key.h"
#include "moejit/moejit.h"
#include "store.h"

#define NUM_KEYS 2
#define IMAGE_BYTES 6000

static char folder[64], path[96];
static int warnings;
static int stride = 1; // every so many: the first argument
static unsigned char pristine[1 << 19];
static size_t pristine_bytes;

static void warn(void *user, const char *text) {
    (void)user;
    (void)text;
    warnings++;
}

static void make_image(int idx, unsigned char image[IMAGE_BYTES]) {
    for (int i = 0; i < IMAGE_BYTES; i++) image[i] = (unsigned char)(i * 7 + idx * 31);
}

static struct mj_text make_key(int idx) {
    struct mj_text key = {0};
    mj_key_append(&key, "unit", &idx, sizeof(idx));
    return key;
}

static void insert(struct mj_store *store, int idx) {
    unsigned char image[IMAGE_BYTES];
    struct mj_text key = make_key(idx);
    make_image(idx, image);
    const struct mj_image_form form = {"cubin", image, IMAGE_BYTES};
    if (!key.failed) mj_store_insert(store, &key, "nvrtc 1", 1, &form, 1);
    mj_text_free(&key);
}

// True: found, and right.
static bool find(struct mj_store *store, int idx) {
    static const char *const formats[] = {"cubin", NULL};
    const struct mj_lookup lookup = {formats, 1, NULL, 0};
    unsigned char image[IMAGE_BYTES];
    struct mj_blob found[MJ_MAX_FORMATS];
    char toolchain[64];
    struct mj_text key = make_key(idx);
    bool hit = !key.failed && mj_store_lookup(store, &key, &lookup, found, toolchain);
    if (hit) {
        make_image(idx, image);
        assert_int_equal(found[0].bytes, IMAGE_BYTES);
        assert_memory_equal(found[0].data, image, IMAGE_BYTES);
        free(found[0].data);
    }
    mj_text_free(&key);
    return hit;
}

// Finds what is there and puts in what is not, as a plan does. NULL where there is no memory for a store.
static void use(void) {
    const struct mj_store_options options = {.path = path, .packs = "", .warn = warn};
    struct mj_store *store = mj_store_open(&options);
    if (store == NULL) return;
    for (int i = 0; i < NUM_KEYS + 1; i++) {
        if (!find(store, i)) insert(store, i);
    }
    for (int i = 0; i < NUM_KEYS + 1; i++) find(store, i);
    mj_store_close(store);
}

static void put_file(size_t bytes) {
    char journal[128];
    snprintf(journal, sizeof(journal), "%s-journal", path);
    unlink(journal);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(pristine, 1, bytes, file), bytes);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
}

// Afterwards, with nothing failing any more: what was lost is put in again, and then all is found without a word.
static void expect_whole(const char *what, int n) {
    warnings = 0;
    use();
    if (warnings > 1) fail_msg("%s %d: %d warnings after the fault", what, n, warnings);
    warnings = 0;
    const struct mj_store_options options = {.path = path, .packs = "", .warn = warn};
    struct mj_store *store = mj_store_open(&options);
    for (int i = 0; i < NUM_KEYS + 1; i++) {
        if (!find(store, i)) fail_msg("%s %d: key %d is lost", what, n, i);
    }
    assert_string_equal(mj_store_path(store), path);
    mj_store_close(store);
    assert_int_equal(warnings, 0);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof(folder), "%s/moejit_test_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/kernels.db", folder);
    const struct mj_store_options options = {.path = path, .packs = "", .warn = warn};
    struct mj_store *store = mj_store_open(&options);
    for (int i = 0; i < NUM_KEYS; i++) insert(store, i);
    mj_store_close(store);
    FILE *file = fopen(path, "rb");
    pristine_bytes = fread(pristine, 1, sizeof(pristine), file);
    fclose(file);
    return 0;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

// A new file and one with rows; one failure and failures from there on.
static void every_file_operation_fails(void **state) {
    int faults = 0;
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        for (int kind = 0; kind < NUM_FAULT_KINDS; kind++) {
            bool fired = true;
            for (int n = 1; fired; n += stride) {
                put_file(variant % 2 == 0 ? 0 : pristine_bytes);
                warnings = 0;
                faulty_vfs_arm((enum fault_kind)kind, n, variant / 2 == 1);
                use();
                fired = faulty_vfs_fired();
                faulty_vfs_arm(FAULT_OPEN, 0, false);
                if (warnings > 1) fail_msg("%s %d: %d warnings", fault_names[kind], n, warnings);
                if (fired) expect_whole(fault_names[kind], n);
                faults += fired;
            }
        }
    }
    printf("%d faults\n", faults);
    assert_true(faults > 200 / stride);
}

static void every_allocation_of_the_store_fails(void **state) {
    int faults = 0;
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        bool fired = true;
        for (int n = 1; fired; n += stride) {
            put_file(variant % 2 == 0 ? 0 : pristine_bytes);
            warnings = 0;
            faulty_malloc_arm(n, variant / 2 == 1);
            use();
            fired = faulty_malloc_fired();
            faulty_malloc_arm(0, false);
            if (warnings > 1) fail_msg("allocation %d: %d warnings", n, warnings);
            if (fired) expect_whole("allocation", n);
            faults += fired;
        }
    }
    printf("%d faults\n", faults);
    assert_true(faults > 200 / stride);
}

// A context and a plan whose kernels are compiled by the fake NVRTC. A failed call says what it lacked.
static moejit_status make_plan(const char *cache, int num_workers, char *message, size_t bytes) {
    moejit_context_options options;
    moejit_plan_options plan_options;
    moejit_context *context = NULL;
    moejit_plan *plan = NULL;
    moejit_layer layer;
    moejit_context_options_init(&options);
    options.attach = MOEJIT_ATTACH_ARCH;
    options.arch = "sm_90a";
    options.cache_path = cache;
    options.cache_packs = "";
    options.nvrtc_library = getenv("FAKE_NVRTC");
    options.compile_workers = num_workers;
    moejit_status status = moejit_context_create(&options, &context, message, bytes);
    if (status != MOEJIT_STATUS_OK) return status;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 64;
    layer.intermediate = 32;
    layer.num_experts = layer.num_local_experts = 4;
    layer.top_k = 2;
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = 1;
    status = moejit_plan_create(context, &layer, &plan_options, &plan);
    snprintf(message, bytes, "%s", moejit_context_error(context));
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
    return status;
}

static void every_allocation_of_a_plan_fails(int num_workers) {
    int faults = 0;
    char message[2048];
    bool fired = true;
    for (int n = 1; fired; n += stride) {
        faulty_malloc_arm(n, false);
        moejit_status status = make_plan("", num_workers, message, sizeof(message));
        fired = faulty_malloc_fired();
        faulty_malloc_arm(0, false);
        if (status != MOEJIT_STATUS_OK && status != MOEJIT_STATUS_OUT_OF_MEMORY) {
            fail_msg("allocation %d: status %d, %s", n, status, message);
        }
        if (status != MOEJIT_STATUS_OK) assert_true(message[0] != '\0');
        faults += fired;
    }
    printf("%d faults\n", faults);
    assert_int_equal(make_plan("", num_workers, message, sizeof(message)), MOEJIT_STATUS_OK);
}

static void every_allocation_of_a_plan_compiled_here_fails(void **state) {
    (void)state;
    every_allocation_of_a_plan_fails(-1);
}

static void every_allocation_of_a_plan_compiled_elsewhere_fails(void **state) {
    (void)state;
    every_allocation_of_a_plan_fails(1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_operation_fails),
        cmocka_unit_test(every_allocation_of_the_store_fails),
        cmocka_unit_test(every_allocation_of_a_plan_compiled_here_fails),
        cmocka_unit_test(every_allocation_of_a_plan_compiled_elsewhere_fails),
    };
    if (argc > 1) stride = atoi(argv[1]);
    faulty_malloc_install();
    faulty_vfs_install();
    return cmocka_run_group_tests(tests, setup, teardown);
}
