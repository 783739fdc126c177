// A compiled Hopper GEMM (ptx/hopper.cu), under many schedules, and with one instruction changed.
#include "machine_test.h"

#include <math.h>

#include "arithmetic.h"

enum { ROWS = 128, COLUMNS = 64, DEPTH = 64 * 7 };

struct problem {
    uint16_t a[ROWS][DEPTH], b[COLUMNS][DEPTH];
    uint8_t tiles[COLUMNS * DEPTH * 2]; // B as stages hold it
};

static void fill(struct problem *problem) {
    uint64_t random = 3;
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < DEPTH; k++) problem->a[i][k] = (uint16_t)emu_bf16_round(test_float(&random));
    }
    for (int j = 0; j < COLUMNS; j++) {
        for (int k = 0; k < DEPTH; k++) {
            problem->b[j][k] = (uint16_t)emu_bf16_round(test_float(&random));
            int piece = k % 64 / 8 ^ j % 8;
            memcpy(problem->tiles + k / 64 * 8192 + j * 128 + piece * 16 + k % 8 * 2, &problem->b[j][k], 2);
        }
    }
}

static struct problem problem;

static void check(const float *d) {
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            double sum = 0, magnitude = 0;
            for (int k = 0; k < DEPTH; k++) {
                double product = (double)emu_bf16_value(problem.a[i][k]) * (double)emu_bf16_value(problem.b[j][k]);
                sum += product;
                magnitude += fabs(product);
            }
            assert_true(fabs((double)d[i * COLUMNS + j] - sum) <= magnitude * 0x1p-20);
        }
    }
}

static char *module_text(void) {
    char path[4096];
    const char *here = __FILE__, *slash = strrchr(here, '/');
    snprintf(path, sizeof(path), "%.*s/ptx/hopper_sm90a.ptx", slash != NULL ? (int)(slash - here) : 1,
             slash != NULL ? here : ".");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 100000);
    assert_non_null(text);
    assert_true(fread(text, 1, 90000, file) > 0);
    fclose(file);
    return text;
}

// Overwrites each place; both texts have one length.
static void replace(char *text, const char *what, const char *with) {
    int count = 0;
    assert_int_equal(strlen(what), strlen(with));
    for (char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what), count++) memcpy(at, with, strlen(with));
    assert_true(count > 0);
}

static enum emu_outcome run(struct machine *machine, const char *text, uint64_t seed, uintptr_t *d) {
    *machine = machine_create(90);
    machine->seed = seed;
    machine->settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
    struct {
        uintptr_t a, b, d;
        int depth;
    } p = {machine_buffer(machine, problem.a, sizeof(problem.a)),
           machine_buffer(machine, problem.tiles, sizeof(problem.tiles)),
           machine_buffer(machine, NULL, ROWS * COLUMNS * 4), DEPTH};
    *d = p.d;
    machine_load(machine, text);
    return machine_launch(machine, "hopper", (struct shape){{1, 1, 1}, {384, 1, 1}, 3 * 8192, {0}}, &p);
}

static void the_kernel_works_under_every_schedule(void **state) {
    char *text = module_text();
    (void)state;
    for (uint64_t seed = 0; seed < 24; seed++) {
        struct machine machine;
        uintptr_t d;
        enum emu_outcome outcome = run(&machine, text, seed, &d);
        if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine.finding);
        assert_int_equal(outcome, EMU_OUTCOME_OK);
        check((const float *)d);
        machine_destroy(&machine);
    }
    free(text);
}

static void broken(const char *what, const char *with, const char *reason) {
    char *text = module_text();
    replace(text, what, with);
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct machine machine;
        uintptr_t d;
        assert_int_not_equal(run(&machine, text, seed, &d), EMU_OUTCOME_OK);
        if (strstr(machine.finding, reason) == NULL) fail_msg("\"%s\" lacks \"%s\"", machine.finding, reason);
        machine_destroy(&machine);
    }
    free(text);
}

static void what_is_changed_is_found(void **state) {
    (void)state;
    broken("wgmma.wait_group.sync.aligned 0;", "wgmma.wait_group.sync.aligned 1;", "hopper: ");
    broken("wgmma.fence.sync.aligned;", "                         ", "before any wgmma.fence");
    broken("@!done bra AGAIN;", "                 ", "hopper: ");
    broken("wgmma.commit_group.sync.aligned;", "                                ",
           "no wgmma.wait_group has waited for");
}

// 384 threads begin with 168 registers each. The producers give back 128, and two warpgroups take 64 each; 8 more are
// never there.
static void the_pool_of_registers_has_an_end(void **state) {
    (void)state;
    broken("setmaxnreg.inc.sync.aligned.u32 232;", "setmaxnreg.inc.sync.aligned.u32 240;",
           "has 168 registers a thread and waits for more, of which the block's pool has ");
    broken("setmaxnreg.inc.sync.aligned.u32 232;", "setmaxnreg.inc.sync.aligned.u32 240;",
           "setmaxnreg.inc.sync.aligned.u32 240;");
    broken("setmaxnreg.dec.sync.aligned.u32 40;", "setmaxnreg.dec.sync.aligned.u32 48;", "deadlock");
    broken("setmaxnreg.dec.sync.aligned.u32 40;", "setmaxnreg.dec.sync.aligned.u32 44;", "a multiple of 8");
    broken("setmaxnreg.inc.sync.aligned.u32 232;", "setmaxnreg.inc.sync.aligned.u32 160;",
           "setmaxnreg.inc to 160 registers, and the warp has 168");
    broken("setmaxnreg.inc.sync.aligned.u32 232;", "setmaxnreg.dec.sync.aligned.u32 232;",
           "setmaxnreg.dec to 232 registers, and the warp has 168");
}

static void runs_with(const char *what, const char *with) {
    char *text = module_text();
    replace(text, what, with);
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct machine machine;
        uintptr_t d;
        enum emu_outcome outcome = run(&machine, text, seed, &d);
        if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine.finding);
        assert_int_equal(outcome, EMU_OUTCOME_OK);
        machine_destroy(&machine);
    }
    free(text);
}

// What .maxnreg and the size of a block leave a thread; without a bound setmaxnreg does nothing.
static void the_bounds_of_a_kernel_fill_the_pool(void **state) {
    (void)state;
    runs_with("setmaxnreg.inc.sync.aligned.u32 232;", "setmaxnreg.inc.sync.aligned.u32 168;");
    runs_with(".maxntid 384, 1, 1", "                  ");
    broken(".maxntid 384, 1, 1", ".maxnreg 128      ", "has 128 registers a thread and waits for more");
    broken(".maxntid 384, 1, 1", ".maxntid 512, 1, 1", "has 128 registers a thread and waits for more");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_works_under_every_schedule), cmocka_unit_test(what_is_changed_is_found),
        cmocka_unit_test(the_pool_of_registers_has_an_end), cmocka_unit_test(the_bounds_of_a_kernel_fill_the_pool)};
    fill(&problem);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
