// The block-scaled mma.sync of sm_120a against whole-number arithmetic, and against mma.m16n8k16 of the same numbers as
// bf16; its selectors; and what it refuses.
#include "machine_test.h"

#include <math.h>

#include "arithmetic.h"

enum { ROWS = 16, COLUMNS = 8, K = 64, BLOCKS = 4 };

struct numbers { // codes two a byte as in memory, scales a byte a block
    uint8_t a[ROWS][K / 2], a_scales[ROWS][BLOCKS];
    uint8_t b[COLUMNS][K / 2], b_scales[COLUMNS][BLOCKS];
    float c[ROWS][COLUMNS];
};

static const int halves[] = {0, 1, 2, 3, 4, 6, 8, 12}; // the magnitudes of e2m1, times two

static int code_of(const uint8_t *codes, int k) {
    return codes[k / 2] >> (k % 2 * 4) & 15;
}

// e2m1 * ue4m3 in steps of 2^-10.
static int64_t steps_of(int code, int scale) {
    int64_t steps = scale >> 3 == 0 ? scale & 7 : (int64_t)((scale & 7) + 8) << ((scale >> 3) - 1);
    return (code & 8 ? -1 : 1) * halves[code & 7] * steps;
}

static void fill(struct numbers *numbers, uint64_t seed, int scale_mask, int scale_base) {
    uint64_t random = seed;
    uint8_t *bytes = (uint8_t *)numbers;
    for (size_t i = 0; i < sizeof(*numbers); i++) bytes[i] = (uint8_t)test_random(&random);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < BLOCKS; k++)
            numbers->a_scales[i][k] = (uint8_t)((numbers->a_scales[i][k] & scale_mask) + scale_base);
        for (int j = 0; j < COLUMNS; j++) numbers->c[i][j] = rintf(test_float(&random) * 16);
    }
    for (int j = 0; j < COLUMNS; j++) {
        for (int k = 0; k < BLOCKS; k++)
            numbers->b_scales[j][k] = (uint8_t)((numbers->b_scales[j][k] & scale_mask) + scale_base);
    }
}

// One warp. Words of lanes that a selector does not name are `junk`; so an executor that takes the wrong lane shows.
#define HEAD                                                                                                           \
    ".version 8.8\n.target sm_120a\n.address_size 64\n"                                                                \
    ".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 sa, .param .u64 sb, .param .u64 c, .param .u64 d)\n{" \
    ".reg .b32 %r<16>, %a<4>, %b<2>;\n.reg .f32 %f<4>;\n.reg .b64 %rd<8>;\n"                                           \
    "ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\nld.param.u64 %rd4, [d];\n"             \
    "mov.u32 %r1, %tid.x;\nshr.u32 %r2, %r1, 2;\nand.b32 %r3, %r1, 3;\n"
#define PLACE "mad.lo.u32 %r4, %r2, 8, %r3;\nadd.u32 %r4, %r4, %r3;\nmul.wide.u32 %rd5, %r4, 4;\n"
#define LOAD_SUMS                                                                                                      \
    PLACE "add.u64 %rd6, %rd5, %rd3;\n"                                                                                \
          "ld.global.v2.f32 {%f0, %f1}, [%rd6];\nld.global.v2.f32 {%f2, %f3}, [%rd6+256];\n"
#define STORE_SUMS                                                                                                     \
    PLACE "add.u64 %rd6, %rd5, %rd4;\n"                                                                                \
          "st.global.v2.f32 [%rd6], {%f0, %f1};\nst.global.v2.f32 [%rd6+256], {%f2, %f3};\nret;\n}\n"

// 32 bytes a row, four of them the lane's; then each lane's own word of scales.
static const char before[] =
    HEAD LOAD_SUMS "mul.lo.u32 %r4, %r2, 32;\nmad.lo.u32 %r4, %r3, 4, %r4;\ncvt.u64.u32 %rd5, %r4;\n"
                   "add.u64 %rd6, %rd5, %rd1;\nld.global.b32 %a0, [%rd6];\nld.global.b32 %a1, [%rd6+256];\n"
                   "ld.global.b32 %a2, [%rd6+16];\nld.global.b32 %a3, [%rd6+272];\n"
                   "add.u64 %rd6, %rd5, %rd2;\nld.global.b32 %b0, [%rd6];\nld.global.b32 %b1, [%rd6+16];\n"
                   "mul.wide.u32 %rd5, %r1, 4;\nld.param.u64 %rd6, [sa];\nadd.u64 %rd6, %rd6, %rd5;\n"
                   "ld.global.b32 %r5, [%rd6];\nld.param.u64 %rd6, [sb];\nadd.u64 %rd6, %rd6, %rd5;\n"
                   "ld.global.b32 %r6, [%rd6];\n"
                   "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3 "
                   "{%f0, %f1, %f2, %f3}, {%a0, %a1, %a2, %a3}, {%b0, %b1}, {%f0, %f1, %f2, %f3}, ";

static void scaled_text(char *text, size_t bytes, int a_thread, int b_thread, int byte_id) {
    snprintf(text, bytes, "%s{%%r5}, {%d, %d}, {%%r6}, {%d, %d};\n%s", before, byte_id, a_thread, byte_id, b_thread,
             STORE_SUMS);
}

struct parameters {
    uintptr_t a, b, a_scales, b_scales, c, d;
};

#define JUNK 0x7f7f7f7fu // NaN in every byte

static enum emu_outcome run(struct machine *machine, const struct numbers *numbers, int a_thread, int b_thread,
                            int byte_id, struct parameters *p) {
    char text[4096];
    uint32_t a_words[32], b_words[32];
    for (int lane = 0; lane < 32; lane++) {
        int number = lane % 4;
        a_words[lane] = b_words[lane] = JUNK;
        if (number / 2 == a_thread) memcpy(&a_words[lane], numbers->a_scales[lane / 4 + number % 2 * 8], 4);
        if (number == b_thread) memcpy(&b_words[lane], numbers->b_scales[lane / 4], 4);
    }
    *p = (struct parameters){machine_buffer(machine, numbers->a, sizeof(numbers->a)),
                             machine_buffer(machine, numbers->b, sizeof(numbers->b)),
                             machine_buffer(machine, a_words, sizeof(a_words)),
                             machine_buffer(machine, b_words, sizeof(b_words)),
                             machine_buffer(machine, numbers->c, sizeof(numbers->c)),
                             machine_buffer(machine, NULL, sizeof(numbers->c))};
    scaled_text(text, sizeof(text), a_thread, b_thread, byte_id);
    machine_load(machine, text);
    return machine_launch(machine, "k", (struct shape){{1, 1, 1}, {32, 1, 1}, 0, {0}}, p);
}

// Sums that are whole in f32, any order: 64 products of small numbers, and one that a wrong pairing would change.
static void small_numbers_are_exact(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct machine machine = machine_create(120);
        struct numbers numbers;
        struct parameters p;
        machine.settings.sums = seed % 2 == 0 ? EMU_SUMS_HARDWARE : EMU_SUMS_NEAREST;
        fill(&numbers, seed, 0x1f, 0x30); // scales 0.5 to 7.5
        assert_int_equal(run(&machine, &numbers, (int)(seed % 2), (int)(seed / 2 % 4), 0, &p), EMU_OUTCOME_OK);
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < COLUMNS; j++) {
                int64_t total = (int64_t)numbers.c[i][j] * (1 << 20);
                for (int k = 0; k < K; k++) {
                    total += steps_of(code_of(numbers.a[i], k), numbers.a_scales[i][k / 16]) *
                             steps_of(code_of(numbers.b[j], k), numbers.b_scales[j][k / 16]);
                }
                assert_true((double)((const float *)p.d)[i * COLUMNS + j] == (double)total * 0x1p-20);
            }
        }
        machine_destroy(&machine);
    }
}

// All scales, NaN apart: the exact sum rounded once.
static void nearest_rounds_once(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct machine machine = machine_create(120);
        struct numbers numbers;
        struct parameters p;
        machine.settings.sums = EMU_SUMS_NEAREST;
        fill(&numbers, seed, 0x7f, 0);
        for (int i = 0; i < ROWS * BLOCKS; i++)
            if (numbers.a_scales[i / BLOCKS][i % BLOCKS] == 0x7f) numbers.a_scales[i / BLOCKS][i % BLOCKS] = 0x7e;
        for (int i = 0; i < COLUMNS * BLOCKS; i++)
            if (numbers.b_scales[i / BLOCKS][i % BLOCKS] == 0x7f) numbers.b_scales[i / BLOCKS][i % BLOCKS] = 0x7e;
        assert_int_equal(run(&machine, &numbers, 0, 0, 0, &p), EMU_OUTCOME_OK);
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < COLUMNS; j++) {
                int64_t total = (int64_t)numbers.c[i][j] * (1 << 20); // below 2^53
                for (int k = 0; k < K; k++) {
                    total += steps_of(code_of(numbers.a[i], k), numbers.a_scales[i][k / 16]) *
                             steps_of(code_of(numbers.b[j], k), numbers.b_scales[j][k / 16]);
                }
                assert_true(((const float *)p.d)[i * COLUMNS + j] == (float)((double)total * 0x1p-20));
            }
        }
        machine_destroy(&machine);
    }
}

static uint32_t bf16_pair(const uint8_t *codes, const uint8_t *scales, int k) {
    uint32_t pair = 0;
    for (int i = 0; i < 2; i++) {
        float value = (float)steps_of(code_of(codes, k + i), scales[(k + i) / 16]) * 0x1p-10f;
        if (scales[(k + i) / 16] == 0x7f) value = NAN;
        pair |= emu_bf16_round(value) << 16 * i;
    }
    return pair;
}

#define BF16_STEP                                                                                                      \
    "add.u64 %rd6, %rd5, %rd1;\nld.global.b32 %a0, [%rd6];\nld.global.b32 %a1, [%rd6+1024];\n"                         \
    "ld.global.b32 %a2, [%rd6+16];\nld.global.b32 %a3, [%rd6+1040];\n"                                                 \
    "add.u64 %rd6, %rd5, %rd2;\nld.global.b32 %b0, [%rd6];\nld.global.b32 %b1, [%rd6+16];\n"                           \
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0, %f1, %f2, %f3}, {%a0, %a1, %a2, %a3}, {%b0, %b1}, "     \
    "{%f0, %f1, %f2, %f3};\nadd.u64 %rd5, %rd5, 32;\n"

// The documented assumption: the bits of four bf16 steps, NaN and all magnitudes included.
static void hardware_agrees_with_bf16_steps(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct machine machine = machine_create(120);
        struct numbers numbers;
        struct parameters p, q;
        uint32_t a[ROWS][K / 2], b[COLUMNS][K / 2];
        fill(&numbers, seed, seed % 8 == 7 ? 0x7f : 0x3f, seed % 8 == 7 ? 0 : 0x20);
        assert_int_equal(run(&machine, &numbers, 1, 3, 0, &p), EMU_OUTCOME_OK);
        for (int k = 0; k < K; k += 2) {
            for (int i = 0; i < ROWS; i++) a[i][k / 2] = bf16_pair(numbers.a[i], numbers.a_scales[i], k);
            for (int j = 0; j < COLUMNS; j++) b[j][k / 2] = bf16_pair(numbers.b[j], numbers.b_scales[j], k);
        }
        q = p;
        q.a = machine_buffer(&machine, a, sizeof(a)), q.b = machine_buffer(&machine, b, sizeof(b));
        q.d = machine_buffer(&machine, NULL, sizeof(numbers.c));
        machine_load(&machine,
                     HEAD LOAD_SUMS "mul.lo.u32 %r4, %r2, 128;\nmad.lo.u32 %r4, %r3, 4, %r4;\n"
                                    "cvt.u64.u32 %rd5, %r4;\n" BF16_STEP BF16_STEP BF16_STEP BF16_STEP STORE_SUMS);
        machine_run(&machine, "k", (struct shape){{1, 1, 1}, {32, 1, 1}, 0, {0}}, &q);
        assert_memory_equal((const void *)p.d, (const void *)q.d, sizeof(numbers.c));
        machine_destroy(&machine);
    }
}

static void nan_scale_reaches_its_row_alone(void **state) {
    (void)state;
    for (int model = 0; model < 2; model++) {
        struct machine machine = machine_create(120);
        struct numbers numbers;
        struct parameters p;
        machine.settings.sums = model == 0 ? EMU_SUMS_HARDWARE : EMU_SUMS_NEAREST;
        fill(&numbers, 5, 0x1f, 0x30);
        numbers.a_scales[3][2] = 0x7f;
        memset(numbers.a[3], 0, sizeof(numbers.a[3])); // 0 * NaN too
        assert_int_equal(run(&machine, &numbers, 0, 1, 0, &p), EMU_OUTCOME_OK);
        for (int i = 0; i < ROWS * COLUMNS; i++)
            assert_int_equal(isnan(((const float *)p.d)[i]) != 0, i / COLUMNS == 3);
        machine_destroy(&machine);
    }
}

static void refused(const struct numbers *numbers, int a_thread, int b_thread, int byte_id, const char *reason) {
    struct machine machine = machine_create(120);
    struct parameters p;
    assert_int_equal(run(&machine, numbers, a_thread, b_thread, byte_id, &p), EMU_OUTCOME_LAUNCH_FAILED);
    if (strstr(machine.finding, reason) == NULL) fail_msg("\"%s\" lacks \"%s\"", machine.finding, reason);
    machine_destroy(&machine);
}

static void misuse_is_found(void **state) {
    (void)state;
    struct numbers numbers;
    fill(&numbers, 1, 0x1f, 0x30);
    refused(&numbers, 2, 0, 0, "the scales' selector is {0, 2}");
    refused(&numbers, 0, 4, 0, "the scales' selector is {0, 4}");
    refused(&numbers, 0, 0, 1, "the scales' selector is {1, 0}");
    numbers.b_scales[6][1] = 0x81;
    refused(&numbers, 0, 0, 0, "a top bit set, which ue4m3 does not have");
    // Not on sm_90a, not without the letter.
    char text[4096], why[2000];
    bool wrong_arch;
    struct machine machine = machine_create(120);
    scaled_text(text, sizeof(text), 0, 0, 0);
    memcpy(strstr(text, "sm_120a"), "sm_120 ", 7);
    assert_null(
        emu_module_create(text, strlen(text), &machine.settings, machine.memory, why, sizeof(why), &wrong_arch));
    assert_non_null(strstr(why, "needs sm_120a"));
    machine_destroy(&machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_numbers_are_exact),
        cmocka_unit_test(nearest_rounds_once),
        cmocka_unit_test(hardware_agrees_with_bf16_steps),
        cmocka_unit_test(nan_scale_reaches_its_row_alone),
        cmocka_unit_test(misuse_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
