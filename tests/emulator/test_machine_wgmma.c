// wgmma against mma.sync of the same numbers and against sums in double; and what breaks its order.
#include "machine_test.h"

#include <math.h>
#include <stdarg.h>

#include "arithmetic.h"

#define MAX_K 64
#define MAX_COLUMNS 256
#define IMAGE_BYTES 131072
#define A_IMAGE 65536 // where A's part of the image begins

struct kind {
    unsigned columns, atom; // atom: bytes of a swizzle's row; 16 without one
    bool transposed, a_in_shared, a_transposed, is_f16, adds;
    int scale_a, scale_b;
    bool forgets_sums; // that it adds to
    unsigned base;     // the image begins that many times 128 bytes after a multiple of 1024
};

static char text[200000];
static size_t used;

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    used += (size_t)vsnprintf(text + used, sizeof(text) - used, format, arguments);
    va_end(arguments);
    assert_true(used < sizeof(text));
}

static void put_head(void) {
    used = 0;
    put(".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 image, .param .u64 a, "
        ".param .u64 b, .param .u64 d, .param .u64 descriptor_a, .param .u64 descriptor_b)\n{\n"
        ".reg .pred %%p<4>;\n.reg .b32 %%r<64>, %%a<4>, %%b<2>;\n.reg .f32 %%f<128>;\n.reg .b64 %%rd<32>;\n"
        ".shared .align 1024 .b8 s[%d];\n"
        "ld.param.u64 %%rd1, [image];\nld.param.u64 %%rd2, [a];\nld.param.u64 %%rd3, [b];\nld.param.u64 %%rd4, [d];\n"
        "ld.param.u64 %%rd5, [descriptor_a];\nld.param.u64 %%rd6, [descriptor_b];\n"
        "mov.u32 %%r1, %%tid.x;\nand.b32 %%r2, %%r1, 31;\nshr.u32 %%r3, %%r1, 5;\n"
        // %r4: the lane's row, %r5: its first column of eight
        "shr.u32 %%r4, %%r2, 2;\nmad.lo.u32 %%r4, %%r3, 16, %%r4;\nand.b32 %%r5, %%r2, 3;\nshl.b32 %%r5, %%r5, 1;\n",
        IMAGE_BYTES + 1024);
}

// %rd10: where the lane's first sum is.
static void put_sums(unsigned columns, bool loads) {
    put("mad.lo.u32 %%r6, %%r4, %u, %%r5;\nmul.wide.u32 %%rd10, %%r6, 4;\nadd.u64 %%rd10, %%rd10, %%rd4;\n", columns);
    for (unsigned i = 0; i < columns / 2; i++) {
        unsigned at = (i / 2 % 2 * 8 * columns + i / 4 * 8 + i % 2) * 4;
        put(loads ? "ld.global.f32 %%f%u, [%%rd10+%u];\n" : "st.global.f32 [%%rd10+%2$u], %%f%1$u;\n", i, at);
    }
}

// A's fragment of 16 k: rows of MAX_K numbers.
static void put_fragment(unsigned k) {
    put("mad.lo.u32 %%r6, %%r4, %d, %%r5;\nmul.wide.u32 %%rd11, %%r6, 2;\nadd.u64 %%rd11, %%rd11, %%rd2;\n", MAX_K);
    for (unsigned i = 0; i < 4; i++) {
        put("ld.global.b32 %%a%u, [%%rd11+%u];\n", i, (i % 2 * 8 * MAX_K + i / 2 * 8 + k) * 2);
    }
}

static const char *type_of(const struct kind *kind) {
    return kind->is_f16 ? "f16" : "bf16";
}

static unsigned depth_of(const struct kind *kind) {
    if (kind->atom == 16 || (kind->transposed && (!kind->a_in_shared || kind->a_transposed))) return 32;
    return kind->atom / 2;
}

static void put_mma(const struct kind *kind) {
    put_head();
    put_sums(kind->columns, true);
    for (unsigned k = 0; k < depth_of(kind); k += 16) {
        put_fragment(k);
        // B: rows of MAX_K numbers, one for each column; the lane's is lane / 4.
        put("shr.u32 %%r6, %%r2, 2;\nmad.lo.u32 %%r6, %%r6, %d, %%r5;\nmul.wide.u32 %%rd12, %%r6, 2;\n"
            "add.u64 %%rd12, %%rd12, %%rd3;\n",
            MAX_K);
        for (unsigned j = 0; j < kind->columns / 8; j++) {
            put("ld.global.b32 %%b0, [%%rd12+%u];\nld.global.b32 %%b1, [%%rd12+%u];\n", (j * 8 * MAX_K + k) * 2,
                (j * 8 * MAX_K + k + 8) * 2);
            unsigned f = 4 * j;
            put("mma.sync.aligned.m16n8k16.row.col.f32.%s.%s.f32 {%%f%u, %%f%u, %%f%u, %%f%u}, {%%a0, %%a1, %%a2, "
                "%%a3}, {%%b0, %%b1}, {%%f%u, %%f%u, %%f%u, %%f%u};\n",
                type_of(kind), type_of(kind), f, f + 1, f + 2, f + 3, f, f + 1, f + 2, f + 3);
        }
    }
    put_sums(kind->columns, false);
    put("ret;\n}\n");
}

static void put_wgmma(const struct kind *kind, unsigned k) {
    put("wgmma.mma_async.sync.aligned.m64n%uk16.f32.%s.%s {", kind->columns, type_of(kind), type_of(kind));
    for (unsigned i = 0; i < kind->columns / 2; i++) put("%s%%f%u", i > 0 ? ", " : "", i);
    put(kind->a_in_shared ? "}, %%rd7, %%rd8, %%p%u, %d, %d, %s%d;\n"
                          : "}, {%%a0, %%a1, %%a2, %%a3}, %%rd8, %%p%u, %d, %d, %s%d;\n",
        kind->adds || k > 0 ? 1u : 2u, kind->scale_a, kind->scale_b,
        kind->a_in_shared ? (kind->a_transposed ? "1, " : "0, ") : "", kind->transposed);
}

// Bytes between two k16 steps of an operand.
static unsigned step_bytes(unsigned atom, bool transposed) {
    return transposed ? 16384 : atom == 16 ? 256 : 32;
}

// Copies the image; then whatever `order` leaves of the instructions that hold all together.
struct order {
    const char *proxy_fence, *barrier, *fence, *commit, *wait, *after;
};
static const struct order good = {"fence.proxy.async;\n",
                                  "bar.sync 0;\n",
                                  "wgmma.fence.sync.aligned;\n",
                                  "wgmma.commit_group.sync.aligned;\n",
                                  "wgmma.wait_group.sync.aligned 0;\n",
                                  ""};

static void put_kernel(const struct kind *kind, const struct order *order) {
    put_head();
    put("mov.u32 %%r7, s;\nadd.u32 %%r7, %%r7, %u;\nshl.b32 %%r8, %%r1, 4;\nmul.wide.u32 %%rd13, %%r1, 16;\nadd.u64 "
        "%%rd13, %%rd13, %%rd1;\n"
        "add.u32 %%r9, %%r7, %%r8;\nmov.u32 %%r10, 0;\nCOPY:\n"
        "ld.global.v4.u32 {%%r11, %%r12, %%r13, %%r14}, [%%rd13];\nst.shared.v4.u32 [%%r9], {%%r11, %%r12, %%r13, "
        "%%r14};\n"
        "add.u64 %%rd13, %%rd13, 2048;\nadd.u32 %%r9, %%r9, 2048;\nadd.u32 %%r10, %%r10, 2048;\n"
        "setp.lt.u32 %%p3, %%r10, %d;\n@%%p3 bra COPY;\n%s%s"
        "setp.eq.u32 %%p1, %%r7, %%r7;\nsetp.ne.u32 %%p2, %%r7, %%r7;\n"
        "shr.u32 %%r15, %%r7, 4;\ncvt.u64.u32 %%rd14, %%r15;\nadd.u64 %%rd7, %%rd5, %%rd14;\nadd.u64 %%rd8, %%rd6, "
        "%%rd14;\n",
        128 * kind->base, IMAGE_BYTES, order->proxy_fence, order->barrier);
    if (kind->adds && !kind->forgets_sums) put_sums(kind->columns, true);
    for (unsigned k = 0; k < depth_of(kind); k += 16) {
        if (k > 0 && !kind->a_in_shared) put("%s", order->wait);
        if (!kind->a_in_shared) put_fragment(k);
        if (k == 0 || !kind->a_in_shared) put("%s", order->fence);
        put_wgmma(kind, k);
        put("%s", order->commit);
        put("add.u64 %%rd7, %%rd7, %u;\nadd.u64 %%rd8, %%rd8, %u;\n", step_bytes(kind->atom, kind->a_transposed) / 16,
            step_bytes(kind->atom, kind->transposed) / 16);
    }
    put("%s", order->wait);
    put_sums(kind->columns, false);
    put("%sret;\n}\n", order->after);
}

// ---- Numbers and their place in shared memory

struct data {
    uint16_t a[64][MAX_K], b[MAX_COLUMNS][MAX_K];
    float c[64 * MAX_COLUMNS];
    uint8_t image[IMAGE_BYTES];
};

// The place of an element, in the words of the swizzle: 16-byte pieces of a row change places by the row's number.
static size_t place_of(unsigned atom, bool transposed, unsigned row, unsigned k, unsigned *leading, unsigned *stride) {
    unsigned per_row = atom / 2;
    *leading = *stride = 0;
    unsigned line, in_line; // of eight, and the byte in it
    size_t base;
    if (!transposed && atom == 16) { // core matrices of 8 rows and 16 bytes: neighbours along k, then along the rows
        *leading = 128, *stride = 1024;
        return row / 8 * 1024 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2;
    }
    if (!transposed) {
        *leading = 16, *stride = 8 * atom;
        base = row / 8 * *stride, line = row % 8, in_line = 2 * k;
    } else if (atom == 16) {
        *stride = 128, *leading = 8192;
        return row / 8 * 128 + k / 8 * 8192 + k % 8 * 16 + row % 8 * 2;
    } else {
        *leading = 8 * atom, *stride = 8192;
        base = row / per_row * *leading + k / 8 * *stride, line = k % 8, in_line = row % per_row * 2;
    }
    unsigned piece = in_line / 16, turned = piece ^ line / (128 / atom);
    return base + line * atom + turned * 16 + in_line % 16;
}

static uint64_t descriptor_of(unsigned atom, bool transposed, unsigned start) {
    unsigned leading, stride;
    place_of(atom, transposed, 0, 0, &leading, &stride);
    uint64_t mode = atom == 128 ? 1 : atom == 64 ? 2 : atom == 32 ? 3 : 0;
    return start / 16 | (uint64_t)(leading / 16) << 16 | (uint64_t)(stride / 16) << 32 | mode << 62;
}

static uint16_t code_of(const struct kind *kind, float value) {
    return (uint16_t)(kind->is_f16 ? emu_f16_round(value) : emu_bf16_round(value));
}

static float value_of(const struct kind *kind, uint16_t code) {
    return kind->is_f16 ? emu_f16_value(code) : emu_bf16_value(code);
}

static void fill(const struct kind *kind, struct data *data, uint64_t seed) {
    unsigned leading, stride;
    memset(data, 0, sizeof(*data));
    for (unsigned row = 0; row < 64; row++) {
        for (unsigned k = 0; k < depth_of(kind); k++) {
            data->a[row][k] = code_of(kind, ldexpf(test_float(&seed), (int)(test_random(&seed) % 6)));
            if (!kind->a_in_shared) continue;
            size_t at = place_of(kind->atom, kind->a_transposed, row, k, &leading, &stride);
            memcpy(data->image + A_IMAGE + at, &data->a[row][k], 2);
        }
    }
    for (unsigned column = 0; column < kind->columns; column++) {
        for (unsigned k = 0; k < depth_of(kind); k++) {
            data->b[column][k] = code_of(kind, ldexpf(test_float(&seed), (int)(test_random(&seed) % 6)));
            size_t at = place_of(kind->atom, kind->transposed, column, k, &leading, &stride);
            assert_true(at < A_IMAGE);
            memcpy(data->image + at, &data->b[column][k], 2);
        }
    }
    for (unsigned i = 0; i < 64 * kind->columns; i++) data->c[i] = test_float(&seed);
}

struct parameters {
    uintptr_t image, a, b, d;
    uint64_t descriptor_a, descriptor_b;
};

static enum emu_outcome launch(struct machine *machine, const struct kind *kind, const struct data *data,
                               struct parameters *p) {
    *p = (struct parameters){.image = machine_buffer(machine, data->image, sizeof(data->image)),
                             .a = machine_buffer(machine, data->a, sizeof(data->a)),
                             .b = machine_buffer(machine, data->b, sizeof(data->b)),
                             .d = machine_buffer(machine, data->c, 64 * (size_t)kind->columns * 4),
                             .descriptor_a = descriptor_of(kind->atom, kind->a_transposed, A_IMAGE),
                             .descriptor_b = descriptor_of(kind->atom, kind->transposed, 0)};
    p->descriptor_a |= (uint64_t)kind->base << 49;
    p->descriptor_b |= (uint64_t)kind->base << 49;
    machine_load(machine, text);
    return machine_launch(machine, "k", (struct shape){{1, 1, 1}, {128, 1, 1}, 0, {0}}, p);
}

static void launched(struct machine *machine, const struct kind *kind, const struct data *data, struct parameters *p) {
    enum emu_outcome outcome = launch(machine, kind, data, p);
    if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine->finding);
    assert_int_equal(outcome, EMU_OUTCOME_OK);
}

static void check_sums(const struct kind *kind, const struct data *data, const float *d) {
    double sign = kind->scale_a * kind->scale_b;
    for (unsigned i = 0; i < 64 * kind->columns; i++) {
        double sum = kind->adds ? (double)data->c[i] : 0, magnitude = fabs(sum);
        for (unsigned k = 0; k < depth_of(kind); k++) {
            double product = (double)value_of(kind, data->a[i / kind->columns][k]) *
                             (double)value_of(kind, data->b[i % kind->columns][k]);
            sum += sign * product;
            magnitude += fabs(product);
        }
        assert_true(fabs((double)d[i] - sum) <= magnitude * 0x1p-20);
    }
}

static void compare(const struct kind *kind, enum emu_sums sums, uint64_t seed) {
    static struct data data;
    struct machine machine = machine_create(90);
    struct parameters p, q;
    machine.settings.sums = sums;
    machine.seed = seed;
    fill(kind, &data, seed);
    put_kernel(kind, &good);
    launched(&machine, kind, &data, &p);
    check_sums(kind, &data, (const float *)p.d);
    // The same by mma.sync, to the bit: signs go into the numbers, and sums that are not added to begin at zero.
    for (unsigned row = 0; row < 64 && kind->scale_a * kind->scale_b < 0; row++) {
        for (unsigned k = 0; k < MAX_K; k++) data.a[row][k] ^= 0x8000;
    }
    if (!kind->adds) memset(data.c, 0, sizeof(data.c));
    put_mma(kind);
    launched(&machine, kind, &data, &q);
    assert_memory_equal((const void *)p.d, (const void *)q.d, 64 * kind->columns * 4);
    machine_destroy(&machine);
}

static void all_widths_agree_with_mma(void **state) {
    (void)state;
    for (unsigned columns = 8; columns <= MAX_COLUMNS; columns += 8) {
        for (unsigned mode = 0; mode < 4; mode++) {
            if (columns > 32 && (columns / 8 + mode) % 4 != 0) continue; // each width, each mode with every fourth
            struct kind kind = {.columns = columns, .atom = 16u << mode, .adds = true, .scale_a = 1, .scale_b = 1};
            kind.is_f16 = (columns / 32 + mode) % 2 != 0;
            compare(&kind, mode % 2 != 0 ? EMU_SUMS_NEAREST : EMU_SUMS_HARDWARE, columns + mode);
        }
    }
}

static void descriptors_signs_and_transpositions(void **state) {
    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        struct kind kind = {.columns = 64,
                            .atom = 16u << i % 4,
                            .adds = i % 3 != 0,
                            .scale_a = i % 5 == 0 ? -1 : 1,
                            .scale_b = i % 7 == 0 ? -1 : 1,
                            .transposed = (i & 16) != 0,
                            .a_in_shared = (i & 4) != 0,
                            .a_transposed = (i & 4) != 0 && (i & 8) != 0,
                            .is_f16 = (i & 32) != 0};
        compare(&kind, EMU_SUMS_HARDWARE, i);
    }
}

// Matrices at any multiple of 128 bytes, whose swizzle's pattern begins with them, as the base offset says. (The forms
// of emulator/forms/descriptors.txt hold what becomes of offsets that are not where a matrix begins: an H100's
// answers.)
static void patterns_begin_where_the_base_offset_says(void **state) {
    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        struct kind kind = {.columns = 64,
                            .atom = 16u << i % 4,
                            .adds = true,
                            .scale_a = 1,
                            .scale_b = 1,
                            .transposed = (i & 4) != 0,
                            .a_in_shared = true,
                            .a_transposed = (i & 4) != 0,
                            .base = i / 8};
        compare(&kind, EMU_SUMS_HARDWARE, i);
    }
}

// ---- Broken orders

static void broken(const struct kind *kind, const struct order *order, const char *reason, const char *line) {
    static struct data data;
    fill(kind, &data, 1);
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct machine machine = machine_create(90);
        struct parameters p;
        machine.seed = seed;
        machine.settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
        put_kernel(kind, order);
        assert_int_not_equal(launch(&machine, kind, &data, &p), EMU_OUTCOME_OK);
        if (strstr(machine.finding, reason) == NULL || strstr(machine.finding, line) == NULL)
            fail_msg("\"%s\" lacks \"%s\" or \"%s\"", machine.finding, reason, line);
        machine_destroy(&machine);
    }
}

static const struct kind small = {.columns = 16, .atom = 128, .adds = true, .scale_a = 1, .scale_b = 1};

static void what_is_forgotten_is_found(void **state) {
    (void)state;
    struct order order = good;
    order.proxy_fence = "";
    broken(&small, &order, "with no fence.proxy.async between", "wgmma.mma_async.sync");
    order = good, order.barrier = "";
    broken(&small, &order, "shared address", "wgmma.mma_async.sync");
    order = good, order.fence = "";
    broken(&small, &order, "before any wgmma.fence", "wgmma.mma_async.sync");
    order = good, order.wait = "";
    broken(&small, &order, "that no wgmma.wait_group has waited for", "%a0");
    order = good, order.wait = "wgmma.wait_group.sync.aligned 1;\n";
    broken(&small, &order, "that no wgmma.wait_group has waited for", "%a0");
    struct kind shared = small;
    shared.a_in_shared = true;
    order = good, order.wait = "";
    broken(&shared, &order, "operand 2 is an accumulator of a wgmma.mma_async", "st.global.f32");
    order = good, order.commit = "";
    broken(&shared, &order, "operand 2 is an accumulator of a wgmma.mma_async", "st.global.f32");
    // A shared write between the multiplication and its wait.
    order = good, order.wait = "st.shared.u32 [%r7+4], %r1;\nwgmma.wait_group.sync.aligned 0;\n";
    broken(&shared, &order, "race: ", "shared address 0x404");
    // A register that is written after the fence.
    order = good, order.fence = "wgmma.fence.sync.aligned;\nadd.f32 %f3, %f3, %f3;\n";
    broken(&small, &order, "register 4 of the accumulator was accessed, and no wgmma.fence lies between",
           "wgmma.mma_async.sync");
    order.fence = "wgmma.fence.sync.aligned;\nadd.u32 %a2, %a2, %a2;\n";
    broken(&small, &order, "register 3 of the factor A was accessed, and no wgmma.fence lies between",
           "wgmma.mma_async.sync");
    // Sums that nobody set; where scale-d is false nobody needs to (descriptors_signs_and_transpositions).
    struct kind unset = small;
    unset.forgets_sums = true, order = good;
    broken(&unset, &order, "read of register %f0, which the thread has not set", "wgmma.mma_async.sync");
    // Half a warpgroup.
    order = good, order.fence = "setp.ge.u32 %p3, %r1, 96;\n@%p3 ret;\nwgmma.fence.sync.aligned;\n";
    broken(&shared, &order, "warpgroup must take part in each", "wgmma.wait_group");
}

// Who has waited knows that all four warps have read; and moves from register to register touch nothing.
static void what_is_in_order_is_not_found(void **state) {
    static struct data data;
    struct order order = good;
    struct kind shared = small;
    (void)state;
    shared.a_in_shared = true;
    order.fence = "wgmma.fence.sync.aligned;\nmov.b32 %f100, %f3;\nmov.b32 %f3, %f100;\n";
    order.after = "setp.eq.u32 %p3, %r1, 64;\n@%p3 st.shared.u32 [%r7+4], %r1;\n";
    fill(&shared, &data, 1);
    put_kernel(&shared, &order);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct machine machine = machine_create(90);
        struct parameters p;
        machine.seed = seed;
        machine.settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
        launched(&machine, &shared, &data, &p);
        check_sums(&shared, &data, (const float *)p.d);
        machine_destroy(&machine);
    }
}

static void misuse_is_found(void **state) {
    (void)state;
    struct order order = good;
    struct kind kind = small;
    kind.scale_a = 2;
    broken(&kind, &order, "a factor's scale is 2: it must be 1 or -1", "wgmma.mma_async");
    order.fence = "wgmma.fence.sync.aligned;\nsetp.eq.u32 %p1, %r2, 3;\n";
    broken(&small, &order, "scale-d differs between lanes", "wgmma.mma_async");
    order.fence = "wgmma.fence.sync.aligned;\nadd.u64 %rd8, %rd8, 16383;\n";
    broken(&small, &order, "shared address", "wgmma.mma_async");
    order.fence = "wgmma.fence.sync.aligned;\ncvt.u64.u32 %rd8, %r1;\n";
    broken(&small, &order, "the matrix descriptor differs between lanes", "wgmma.mma_async");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_widths_agree_with_mma),
                                       cmocka_unit_test(descriptors_signs_and_transpositions),
                                       cmocka_unit_test(patterns_begin_where_the_base_offset_says),
                                       cmocka_unit_test(what_is_forgotten_is_found),
                                       cmocka_unit_test(what_is_in_order_is_not_found),
                                       cmocka_unit_test(misuse_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
