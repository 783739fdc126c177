// Counters of a launch: each of small kernels whose sectors, bank conflicts, waits and copies can be counted by hand.
#include "machine_test.h"

#define KERNEL(body)                                                                                                   \
    ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 stride)\n{\n"         \
    ".reg .pred %p<4>;\n.reg .b32 %r<16>;\n.reg .b64 %rd<8>;\n.shared .align 128 .b8 memory[8192];\n"                  \
    "ld.param.u64 %rd1, [p];\nld.param.u32 %r2, [stride];\nmov.u32 %r1, %tid.x;\nmul.lo.u32 %r3, %r1, %r2;\n"          \
    "mov.u32 %r4, memory;\nadd.u32 %r4, %r4, %r3;\ncvt.u64.u32 %rd2, %r3;\nadd.u64 %rd2, %rd1, %rd2;\n" body           \
    "ret;\n}\n"
#define WORDS "{%r1, %r1, %r1, %r1}"

static struct emu_counters count(const char *ptx, unsigned threads, uint32_t stride) {
    struct machine machine = machine_create(90);
    static uint32_t words[4096];
    struct {
        uintptr_t p;
        uint32_t stride;
    } p = {machine_buffer(&machine, words, sizeof(words)), stride};
    machine_load(&machine, ptx);
    machine_run(&machine, "k", (struct shape){{1, 1, 1}, {threads, 1, 1}, 0, {0}}, &p);
    machine_destroy(&machine);
    return machine.counters;
}

static void bank_conflicts_are_counted(void **state) {
    (void)state;
    static const struct {
        const char *ptx;
        uint32_t stride;
        uint64_t conflicts;
    } cases[] = {
        {KERNEL("st.shared.b32 [%r4], %r1;\n"), 4, 0},
        {KERNEL("st.shared.b32 [%r4], %r1;\n"), 8, 1},
        {KERNEL("st.shared.b32 [%r4], %r1;\n"), 16, 3},
        {KERNEL("st.shared.b32 [%r4], %r1;\n"), 128, 31},
        {KERNEL("st.shared.b32 [%r4], %r1;\n"), 132, 0},
        {KERNEL("st.shared.v2.b32 [%r4], {%r1, %r1};\n"), 8, 0},
        {KERNEL("st.shared.v2.b32 [%r4], {%r1, %r1};\n"), 16, 2}, // two halves, twice each
        {KERNEL("st.shared.v4.b32 [%r4], " WORDS ";\n"), 16, 0},
        {KERNEL("st.shared.v4.b32 [%r4], " WORDS ";\n"), 32, 4},   // four quarters, twice each
        {KERNEL("st.shared.v4.b32 [%r4], " WORDS ";\n"), 128, 28}, // eight times each
        {KERNEL("st.shared.v4.b32 [%r4], " WORDS ";\n"), 144, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct emu_counters counters = count(cases[i].ptx, 32, cases[i].stride);
        assert_int_equal(counters.shared_accesses, 1);
        assert_int_equal(counters.shared_bank_conflicts, cases[i].conflicts);
    }
    const char *broadcast = KERNEL("setp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.b32 [memory], %r1;\nbar.sync 0;\n"
                                   "ld.shared.b32 %r5, [memory];\n");
    assert_int_equal(count(broadcast, 32, 4).shared_bank_conflicts, 0);
}

static void sectors_and_bytes_are_counted(void **state) {
    (void)state;
    const char *load = KERNEL("ld.global.b32 %r5, [%rd2];\n"), *wide = KERNEL("ld.global.v4.b32 {%r5, %r6, %r7, %r8}, "
                                                                              "[%rd2];\n");
    const char *moved = KERNEL("ld.global.b32 %r5, [%rd2+16];\n"), *store = KERNEL("st.global.b32 [%rd2], %r1;\n");
    assert_int_equal(count(load, 32, 4).global_sectors, 4);
    assert_int_equal(count(load, 32, 4).global_load_bytes, 128);
    assert_int_equal(count(load, 32, 8).global_sectors, 8);
    assert_int_equal(count(load, 32, 64).global_sectors, 32);
    assert_int_equal(count(moved, 32, 4).global_sectors, 5);
    assert_int_equal(count(wide, 32, 16).global_sectors, 16);
    assert_int_equal(count(store, 64, 4).global_sectors, 8);
    assert_int_equal(count(store, 64, 4).global_store_bytes, 256);
}

static void others_are_counted(void **state) {
    (void)state;
    struct emu_counters counters = count(KERNEL("bar.sync 0;\nred.global.add.u32 [%rd2], 1;\nbar.sync 0;\n"), 96, 4);
    assert_int_equal(counters.barrier_waits, 6);
    assert_int_equal(counters.atomics, 96); // of threads
    counters = count(KERNEL("cp.async.ca.shared.global [%r4], [%rd2], 16;\ncp.async.wait_all;\n"), 32, 16);
    assert_int_equal(counters.async_copies, 32);
    assert_int_equal(counters.async_copy_bytes, 512);
    counters = count(KERNEL("add.u32 %r5, %r1, 1;\nadd.f32 %r6, %r1, %r1;\n"), 32, 16);
    struct emu_counters plain = count(KERNEL(""), 32, 16);
    assert_int_equal(counters.warp_instructions - plain.warp_instructions, 2);
    assert_int_equal(counters.thread_instructions - plain.thread_instructions, 64);
    assert_int_equal(counters.integer_ops - plain.integer_ops, 1);
    assert_int_equal(counters.float_ops - plain.float_ops, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bank_conflicts_are_counted),
                                       cmocka_unit_test(sectors_and_bytes_are_counted),
                                       cmocka_unit_test(others_are_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
