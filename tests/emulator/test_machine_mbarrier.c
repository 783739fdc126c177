// A ring of stages between a producer warp and consumer warps, held together by mbarriers, under many schedules; and
// what happens where one of its edges is missing.
#include "machine_test.h"

#define HEAD ".version 8.0\n.target sm_90a\n.address_size 64\n"

// Warp 0 writes numbers into two stages of 32 words, warp 1 adds them up. full and empty have two mbarriers each, at 0
// and 16.
#define RING(init, wait_empty, arrive_full, wait_full, arrive_empty)                                                   \
    HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<8>;\n"              \
         ".shared .align 128 .b8 stages[256];\n.shared .align 8 .b8 bars[32];\n"                                       \
         "ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra READY;\n" init             \
         "READY:\nbar.sync 0;\nmov.u32 %r2, 0;\nmov.u32 %r3, 0;\nand.b32 %r10, %r1, 31;\nshl.b32 %r11, %r10, 2;\n"     \
         "LOOP:\nand.b32 %r4, %r2, 1;\nshr.u32 %r5, %r2, 1;\nand.b32 %r5, %r5, 1;\nshl.b32 %r6, %r4, 3;\n"             \
         "mov.u32 %r7, bars;\nadd.s32 %r7, %r7, %r6;\nshl.b32 %r8, %r4, 7;\nadd.s32 %r8, %r8, %r11;\n"                 \
         "mov.u32 %r9, stages;\nadd.s32 %r9, %r9, %r8;\nsetp.ge.u32 %p2, %r1, 32;\n@%p2 bra CONSUME;\n"                \
         "xor.b32 %r12, %r5, 1;\n" wait_empty "add.s32 %r13, %r2, %r10;\nst.shared.u32 [%r9], %r13;\n" arrive_full     \
         "bra NEXT;\nCONSUME:\n" wait_full "ld.shared.u32 %r13, [%r9];\nadd.s32 %r3, %r3, %r13;\n" arrive_empty        \
         "NEXT:\nadd.s32 %r2, %r2, 1;\nsetp.lt.u32 %p3, %r2, 9;\n@%p3 bra LOOP;\n@!%p2 bra DONE;\n"                    \
         "mul.wide.u32 %rd2, %r10, 4;\nadd.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r3;\nDONE:\nret;\n}\n"
#define INIT                                                                                                           \
    "mbarrier.init.shared.b64 [bars], 32;\nmbarrier.init.shared.b64 [bars+8], 32;\n"                                   \
    "mbarrier.init.shared.b64 [bars+16], 32;\nmbarrier.init.shared.b64 [bars+24], 32;\n"
#define WAIT(label, address, parity)                                                                                   \
    label ":\nmbarrier.try_wait.parity.shared.b64 %p4, [" address "], " parity ";\n@!%p4 bra " label ";\n"
#define ARRIVE(address) "mbarrier.arrive.shared.b64 _, [" address "];\n"
#define GOOD RING(INIT, WAIT("WE", "%r7+16", "%r12"), ARRIVE("%r7"), WAIT("WF", "%r7", "%r5"), ARRIVE("%r7+16"))

static enum emu_outcome run(struct machine *machine, const char *text, uintptr_t *out) {
    machine_load(machine, text);
    *out = machine_buffer(machine, NULL, 128);
    return machine_launch(machine, "k", (struct shape){{1, 1, 1}, {64, 1, 1}, 0, {0}}, out);
}

static void a_ring_works_under_every_schedule(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct machine machine = machine_create(90);
        uintptr_t out;
        machine.seed = seed;
        machine.settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
        enum emu_outcome outcome = run(&machine, GOOD, &out);
        if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine.finding);
        assert_int_equal(outcome, EMU_OUTCOME_OK);
        for (uint32_t i = 0; i < 32; i++) assert_int_equal(((uint32_t *)out)[i], 36 + 9 * i);
        machine_destroy(&machine);
    }
}

static void broken(const char *text, const char *reason) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct machine machine = machine_create(90);
        uintptr_t out;
        machine.seed = seed;
        machine.settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
        assert_int_not_equal(run(&machine, text, &out), EMU_OUTCOME_OK);
        if (strstr(machine.finding, reason) == NULL) fail_msg("\"%s\" lacks \"%s\"", machine.finding, reason);
        machine_destroy(&machine);
    }
}

static void a_missing_edge_is_found(void **state) {
    (void)state;
    // Nobody waits for the stage to be empty: a race, or, as the phases run ahead, an arrival too many.
    broken(RING(INIT, "", ARRIVE("%r7"), WAIT("WF", "%r7", "%r5"), ARRIVE("%r7+16")), "k: ");
    // Nobody waits for the stage to be full.
    broken(RING(INIT, WAIT("WE", "%r7+16", "%r12"), ARRIVE("%r7"), "", ARRIVE("%r7+16")), "k: ");
    // The consumer never says that the stage is empty.
    broken(RING(INIT, WAIT("WE", "%r7+16", "%r12"), ARRIVE("%r7"), WAIT("WF", "%r7", "%r5"), ""), "deadlock");
    // The wrong parity.
    broken(RING(INIT, WAIT("WE", "%r7+16", "%r5"), ARRIVE("%r7"), WAIT("WF", "%r7", "%r5"), ARRIVE("%r7+16")),
           "deadlock");
}

static void misuse_is_found(void **state) {
    (void)state;
    broken(RING("", WAIT("WE", "%r7+16", "%r12"), ARRIVE("%r7"), WAIT("WF", "%r7", "%r5"), ARRIVE("%r7+16")),
           "there is no initialised mbarrier");
    broken(RING(INIT "st.shared.u32 [bars+4], 1;\n", "", "", "", ""), "only mbarrier operations may touch it");
    broken(RING("mbarrier.init.shared.b64 [bars+4], 1;\n", "", "", "", ""), "not aligned to 8");
    broken(RING("mbarrier.init.shared.b64 [bars], 0;\n", "", "", "", ""), "it must be 1 to 2^20 - 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_ring_works_under_every_schedule),
                                       cmocka_unit_test(a_missing_edge_is_found), cmocka_unit_test(misuse_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
