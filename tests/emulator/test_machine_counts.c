// The counters of accesses: bank conflicts of each width, and sectors of each kind of copy.
#include "machine_test.h"

// One warp; %r3 is the shared address base + lane * stride, %rd2 the global one with the same distance.
#define KERNEL(stride, body)                                                                                           \
    ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n.reg .b32 %r<16>;\n"         \
    ".reg .b64 %rd<8>;\n.shared .align 128 .b8 area[8192];\n.shared .align 8 .b8 bar[8];\n"                            \
    "ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmov.u32 %r4, area;\nmul.lo.u32 %r2, %r1, " stride ";\n"            \
    "add.u32 %r3, %r4, %r2;\nmul.wide.u32 %rd2, %r1, " stride ";\nadd.u64 %rd2, %rd1, %rd2;\nmov.u32 %r5, 0;\n" body   \
    "ret;\n}\n"

static struct emu_counters counters_of(const char *text) {
    static uint8_t bytes[8192];
    struct machine machine = machine_create(90);
    machine_load(&machine, text);
    uintptr_t global = machine_buffer(&machine, bytes, sizeof(bytes));
    machine_run(&machine, "k", (struct shape){{1, 1, 1}, {32, 1, 1}, 0, {0}}, &global);
    struct emu_counters counters = machine.counters;
    machine_destroy(&machine);
    return counters;
}

static uint64_t conflicts(const char *text) {
    return counters_of(text).shared_bank_conflicts;
}

static void lanes_wait_at_a_bank(void **state) {
    (void)state;
#define STORE_4 "st.shared.b32 [%r3], %r5;\n"
    assert_int_equal(conflicts(KERNEL("4", STORE_4)), 0);
    assert_int_equal(conflicts(KERNEL("4", STORE_4 "bar.warp.sync 0xffffffff;\nld.shared.b32 %r6, [%r4];\n")),
                     0); // one word
    assert_int_equal(conflicts(KERNEL("8", STORE_4)), 1);
    assert_int_equal(conflicts(KERNEL("12", STORE_4)), 0);
    assert_int_equal(conflicts(KERNEL("128", STORE_4)), 31);
    // Two parts of 16 lanes.
#define STORE_8 "st.shared.v2.b32 [%r3], {%r5, %r5};\n"
    assert_int_equal(conflicts(KERNEL("8", STORE_8)), 0);
    assert_int_equal(conflicts(KERNEL("16", STORE_8)), 2 * 1);
    assert_int_equal(conflicts(KERNEL("128", STORE_8)), 2 * 15);
    // Four of 8.
#define STORE_16 "st.shared.v4.b32 [%r3], {%r5, %r5, %r5, %r5};\n"
    assert_int_equal(conflicts(KERNEL("16", STORE_16)), 0);
    assert_int_equal(conflicts(KERNEL("32", STORE_16)), 4 * 1);
    assert_int_equal(conflicts(KERNEL("144", STORE_16)), 0); // rows of 128 bytes, padded by 16
    assert_int_equal(conflicts(KERNEL("128", STORE_16)), 4 * 7);
}

static void matrices_and_copies_wait_too(void **state) {
    (void)state;
#define MATRIX                                                                                                         \
    "st.shared.v4.b32 [%r3], {%r5, %r5, %r5, %r5};\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r6, %r7, %r8, %r9}, "   \
    "[%r3];\n"
    assert_int_equal(conflicts(KERNEL("16", MATRIX)), 0);
    assert_int_equal(conflicts(KERNEL("128", MATRIX)), 2 * 4 * 7); // the store and the load
#define COPY "cp.async.cg.shared.global [%r3], [%rd2], 16;\ncp.async.wait_all;\n"
    assert_int_equal(conflicts(KERNEL("16", COPY)), 0);
    assert_int_equal(conflicts(KERNEL("128", COPY)), 4 * 7);
}

static void sectors_of_each_copy(void **state) {
    (void)state;
    assert_int_equal(counters_of(KERNEL("4", "ld.global.b32 %r6, [%rd2];\n")).global_sectors, 4);
    assert_int_equal(counters_of(KERNEL("128", "ld.global.b32 %r6, [%rd2];\n")).global_sectors, 32);
    assert_int_equal(counters_of(KERNEL("16", COPY)).global_sectors, 16);
    assert_int_equal(counters_of(KERNEL("128", COPY)).global_sectors, 32);
    // Lanes 16 and up copy from the same sectors as those below.
#define FOLDED                                                                                                         \
    "and.b32 %r6, %r1, 15;\nshr.u32 %r7, %r1, 4;\nshl.b32 %r6, %r6, 5;\nmad.lo.u32 %r6, %r7, 8, %r6;\n"                \
    "cvt.u64.u32 %rd3, %r6;\nadd.u64 %rd3, %rd1, %rd3;\ncp.async.ca.shared.global [%r3], [%rd3], 8;\n"                 \
    "cp.async.wait_all;\n"
    assert_int_equal(counters_of(KERNEL("8", FOLDED)).global_sectors, 16);
    // One bulk copy of 256 bytes by lane 0.
#define BULK                                                                                                           \
    ".reg .pred %p<2>;\nsetp.ne.u32 %p0, %r1, 0;\n@%p0 bra DONE;\nmov.u32 %r7, bar;\n"                                 \
    "mbarrier.init.shared.b64 [%r7], 1;\nfence.proxy.async;\n"                                                         \
    "mbarrier.arrive.expect_tx.shared.b64 _, [%r7], 256;\n"                                                            \
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r4], [%rd1], 256, [%r7];\n"                   \
    "WAIT:\nmbarrier.try_wait.parity.shared.b64 %p1, [%r7], 0;\n@!%p1 bra WAIT;\nDONE:\n"
    assert_int_equal(counters_of(KERNEL("0", BULK)).global_sectors, 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_wait_at_a_bank),
        cmocka_unit_test(matrices_and_copies_wait_too),
        cmocka_unit_test(sectors_of_each_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
