// Bulk copies: a ring of stages that they fill, under many schedules, and what happens where one of its edges is
// missing.
#include "machine_test.h"

#define HEAD                                                                                                           \
    ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u64 q)\n{\n"             \
    ".reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<12>;\n.shared .align 128 .b8 stages[1024];\n"                 \
    ".shared .align 8 .b8 bars[32];\nld.param.u64 %rd1, [p];\nld.param.u64 %rd2, [q];\nmov.u32 %r1, %tid.x;\n"         \
    "setp.ne.u32 %p1, %r1, 0;\n"

// Thread 0 has 9 tiles of 128 words copied to two stages; warps 1 and 2 add them up. bars: full 0, 8, empty 16, 24.
#define RING(expect, copy, wait_full, wait_empty)                                                                      \
    HEAD "@%p1 bra READY;\nmbarrier.init.shared::cta.b64 [bars], 1;\nmbarrier.init.shared::cta.b64 [bars+8], 1;\n"     \
         "mbarrier.init.shared::cta.b64 [bars+16], 64;\nmbarrier.init.shared::cta.b64 [bars+24], 64;\n"                \
         "fence.mbarrier_init.release.cluster;\nREADY:\nbar.sync 0;\nmov.u32 %r2, 0;\nmov.u32 %r3, 0;\n"               \
         "and.b32 %r10, %r1, 63;\nshl.b32 %r11, %r10, 3;\nsetp.lt.u32 %p2, %r1, 64;\nsetp.ne.u32 %p3, %r1, 64;\n"      \
         "@%p2 bra LOOP;\n@%p3 ret;\n"                                                                                 \
         "LOOP:\nand.b32 %r4, %r2, 1;\nshr.u32 %r5, %r2, 1;\nand.b32 %r5, %r5, 1;\nshl.b32 %r6, %r4, 3;\n"             \
         "mov.u32 %r7, bars;\nadd.s32 %r7, %r7, %r6;\nshl.b32 %r8, %r4, 9;\nmov.u32 %r9, stages;\n"                    \
         "add.s32 %r9, %r9, %r8;\n@%p2 bra CONSUME;\nxor.b32 %r12, %r5, 1;\n" wait_empty expect                        \
         "mul.wide.u32 %rd3, %r2, 512;\nadd.s64 %rd3, %rd3, %rd1;\n" copy "bra NEXT;\nCONSUME:\n" wait_full            \
         "add.s32 %r9, %r9, %r11;\nld.shared.v2.u32 {%r13, %r14}, [%r9];\nadd.s32 %r3, %r3, %r13;\n"                   \
         "add.s32 %r3, %r3, %r14;\nmbarrier.arrive.shared::cta.b64 _, [%r7+16];\n"                                     \
         "NEXT:\nadd.s32 %r2, %r2, 1;\nsetp.lt.u32 %p4, %r2, 9;\n@%p4 bra LOOP;\n@!%p2 bra DONE;\n"                    \
         "mul.wide.u32 %rd4, %r10, 4;\nadd.s64 %rd5, %rd2, %rd4;\nst.global.u32 [%rd5], %r3;\nDONE:\nret;\n}\n"
#define WAIT(label, address, parity)                                                                                   \
    label ":\nmbarrier.try_wait.parity.shared::cta.b64 %p5, [" address "], " parity ";\n@!%p5 bra " label ";\n"
#define FULL WAIT("WF", "%r7", "%r5")
#define EMPTY WAIT("WE", "%r7+16", "%r12")
#define EXPECT(bytes) "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r7], " bytes ";\n"
#define PART(to, from, bytes)                                                                                          \
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r9" to "], [%rd3" from "], " bytes ", "       \
    "[%r7];\n"
#define COPY PART("", "", "256") PART("+256", "+256", "256")

static enum emu_outcome run(struct machine *machine, const char *text, uintptr_t *out) {
    uint32_t words[9 * 128];
    for (uint32_t i = 0; i < 9 * 128; i++) words[i] = i * i;
    uintptr_t p[2] = {machine_buffer(machine, words, sizeof(words)), machine_buffer(machine, NULL, 256)};
    *out = p[1];
    machine_load(machine, text);
    return machine_launch(machine, "k", (struct shape){{1, 1, 1}, {96, 1, 1}, 0, {0}}, p);
}

static struct machine machine_of(uint64_t seed) {
    struct machine machine = machine_create(90);
    machine.seed = seed;
    machine.settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
    return machine;
}

static void good(const char *text, uint32_t (*wanted)(uint32_t)) {
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct machine machine = machine_of(seed);
        uintptr_t out;
        enum emu_outcome outcome = run(&machine, text, &out);
        if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine.finding);
        assert_int_equal(outcome, EMU_OUTCOME_OK);
        for (uint32_t i = 0; i < 64; i++) assert_int_equal(((uint32_t *)out)[i], wanted(i));
        machine_destroy(&machine);
    }
}

static void broken(const char *text, const char *reason, const char *line) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct machine machine = machine_of(seed);
        uintptr_t out;
        assert_int_not_equal(run(&machine, text, &out), EMU_OUTCOME_OK);
        if (strstr(machine.finding, reason) == NULL || strstr(machine.finding, line) == NULL)
            fail_msg("seed %d: \"%s\" lacks \"%s\" or \"%s\"", (int)seed, machine.finding, reason, line);
        machine_destroy(&machine);
    }
}

static uint32_t ring_sum(uint32_t i) {
    uint32_t sum = 0;
    for (uint32_t tile = 0; tile < 9; tile++) {
        uint32_t at = tile * 128 + 2 * i;
        sum += at * at + (at + 1) * (at + 1);
    }
    return sum;
}

static void a_ring_works_under_every_schedule(void **state) {
    (void)state;
    good(RING(EXPECT("512"), COPY, FULL, EMPTY), ring_sum);
    good(RING("", COPY EXPECT("512"), FULL, EMPTY), ring_sum);
    good(RING("mov.b64 %rd6, 0;\n" EXPECT("512"),
              "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes.L2::cache_hint [%r9], [%rd3], 512, [%r7], "
              "%rd6;\n",
              FULL, EMPTY),
         ring_sum);
}

static void a_missing_edge_is_found(void **state) {
    (void)state;
    broken(RING(EXPECT("512"), COPY, "", EMPTY), "shared address", "ld.shared.v2.u32");
    // Consumers that run ahead of their stage arrive too often, or the next copy meets their reads.
    broken(RING(EXPECT("512"), COPY, FULL, ""), "k: ", "");
    broken(RING(EXPECT("528"), COPY, FULL, EMPTY), "deadlock", "0 of 1 arrivals and 16 bytes");
    broken(RING("mbarrier.arrive.shared::cta.b64 _, [%r7];\n", COPY, FULL, EMPTY), "k: ", "");
}

static void misuse_is_found(void **state) {
    (void)state;
#define ONE(text) RING(EXPECT("512"), text, FULL, EMPTY)
    broken(ONE(PART("", "", "500")), "cp.async.bulk of 500 bytes: it takes a multiple of 16", "500, [%r7];");
    broken(ONE(PART("+8", "", "256")), "not aligned to 16", "[%r9+8]");
    broken(ONE(PART("", "+8", "256")), "not aligned to 16", "[%rd3+8]");
    broken(ONE(PART("+1024", "", "256")), "is out of bounds", "[%r9+1024]");
    broken(ONE(PART("", "+8192", "256")), "outside every allocation", "[%rd3+8192]");
    broken(ONE("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r9], [%rd3], 512, [%r9];\n"),
           "there is no initialised mbarrier", "[%r9];");
    broken(ONE(PART("", "", "512") PART("", "", "512")), "race: a write after a write", "cp.async.bulk");
    // Ordinary stores, then a copy over them.
    broken(ONE("st.shared.u32 [%r9+16], %r1;\n" COPY), "with no fence.proxy.async between", "cp.async.bulk");
}

#define ALONE(text) ALONE_AFTER("fence.mbarrier_init.release.cluster;\n", text)
#define ALONE_AFTER(fence, text)                                                                                       \
    HEAD "@%p1 bra READY;\nmbarrier.init.shared::cta.b64 [bars], 1;\n" fence                                           \
         "READY:\nbar.sync 0;\nmov.u32 %r7, bars;\n"                                                                   \
         "mov.u32 %r9, stages;\nmov.b64 %rd3, %rd1;\nmov.u32 %r5, 0;\n" text "ret;\n}\n"

static void an_end_with_a_copy_under_way_is_found(void **state) {
    (void)state;
    struct machine machine = machine_of(1);
    uintptr_t out;
    const char *text = ALONE("@%p1 ret;\n" EXPECT("256") PART("", "", "256"));
    assert_int_equal(run(&machine, text, &out), EMU_OUTCOME_LAUNCH_FAILED);
    assert_non_null(strstr(machine.finding, "the block ends, and a bulk copy of 256 bytes"));
    assert_non_null(strstr(machine.finding, "cp.async.bulk"));
    machine_destroy(&machine);
}

static void an_mbarrier_needs_its_fence(void **state) {
    (void)state;
#define COPIED "@%p1 ret;\n" EXPECT("256") PART("", "", "256") FULL
    broken(ALONE_AFTER("", COPIED), "no fence.mbarrier_init or fence.proxy.async", "cp.async.bulk");
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct machine machine = machine_of(seed);
        uintptr_t out;
        assert_int_equal(run(&machine, ALONE(COPIED), &out), EMU_OUTCOME_OK);
        assert_int_equal(run(&machine, ALONE_AFTER("fence.proxy.async;\n", COPIED), &out), EMU_OUTCOME_OK);
        machine_destroy(&machine);
    }
}

// Both warps write 128 words of their numbers; thread 0 has them copied, or added, to q.
#define STORE(fence, copy, wait)                                                                                       \
    HEAD "mov.u32 %r9, stages;\nshl.b32 %r2, %r1, 2;\nadd.s32 %r9, %r9, %r2;\nst.shared.u32 [%r9], %r1;\n" fence       \
         "bar.sync 0;\n@%p1 bra DONE;\nmov.u32 %r9, stages;\nmov.u32 %r3, 256;\n" copy                                 \
         "cp.async.bulk.commit_group;\n" wait "DONE:\nbar.sync 0;\nmov.u32 %r9, stages;\nadd.s32 %r9, %r9, %r2;\n"     \
         "st.shared.u32 [%r9], 7;\nelect.sync _|%p6, -1;\nsetmaxnreg.dec.sync.aligned.u32 40;\nret;\n}\n"
#define TO_GLOBAL "cp.async.bulk.global.shared::cta.bulk_group [%rd2], [stages], 256;\n"
#define FENCE "fence.proxy.async.shared::cta;\n"

static uint32_t same(uint32_t i) {
    return i;
}

static uint32_t twice(uint32_t i) {
    return 2 * i;
}

static void stores_need_their_fence_and_wait(void **state) {
    (void)state;
    good(STORE(FENCE, TO_GLOBAL, "cp.async.bulk.wait_group.read 0;\n"), same);
    good(STORE(FENCE, "cp.async.bulk.prefetch.L2.global [%rd2], %r3;\n" TO_GLOBAL, "cp.async.bulk.wait_group 0;\n"),
         same);
    good(STORE(FENCE,
               TO_GLOBAL "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n"
                         "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd2], [%r9], %r3;\n",
               "cp.async.bulk.wait_group.read 0;\n"),
         twice);
    broken(STORE("", TO_GLOBAL, "cp.async.bulk.wait_group.read 0;\n"), "with no fence.proxy.async between",
           "[%rd2], [stages], 256;");
    broken(STORE(FENCE, TO_GLOBAL, ""), "which a bulk copy of thread 0 reads that was not waited for",
           "st.shared.u32 [%r9], 7;");
    broken(STORE(FENCE, TO_GLOBAL, "cp.async.bulk.wait_group.read 1;\n"),
           "which a bulk copy of thread 0 reads that was not waited for", "st.shared.u32 [%r9], 7;");
    broken(STORE(FENCE, TO_GLOBAL, "ret;\n"), "which a bulk copy of thread 0 reads that was not waited for",
           "st.shared.u32 [%r9], 7;");
    broken(STORE(FENCE, "cp.async.bulk.global.shared::cta.bulk_group [%rd2+4], [stages], 240;\n", ""),
           "not aligned to 16", "[%rd2+4]");
}

// f32, bf16 and f16 sums round as atomic additions do.
static void reductions_add_in_every_format(void **state) {
    static const struct {
        const char *type;
        uint32_t one, sum;
    } formats[] = {{"add.f32", 0x3fc00000, 0x40400000},
                   {"add.noftz.f16", 0x3e003e00, 0x42004200},
                   {"add.noftz.bf16", 0x3fc03fc0, 0x40404040},
                   {"max.s32", 5, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        char text[4000];
        snprintf(text, sizeof(text), "%s%u%s%s%s",
                 HEAD "mov.u32 %r9, stages;\nshl.b32 %r2, %r1, 2;\nadd.s32 %r9, %r9, %r2;\nmov.u32 %r3, ",
                 formats[i].one,
                 ";\nst.shared.u32 [%r9], %r3;\ncvt.u64.u32 %rd3, %r2;\nadd.u64 %rd3, %rd3, %rd1;\n"
                 "st.global.u32 [%rd3], %r3;\nfence.proxy.async;\nbar.sync 0;\n@%p1 ret;\n"
                 "cp.reduce.async.bulk.global.shared::cta.bulk_group.",
                 formats[i].type,
                 " [%rd1], [stages], 256;\ncp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nret;\n}\n");
        struct machine machine = machine_of(i);
        uintptr_t p[2] = {machine_buffer(&machine, NULL, 512), 0};
        machine_load(&machine, text);
        machine_run(&machine, "k", (struct shape){{1, 1, 1}, {96, 1, 1}, 0, {0}}, p);
        for (int word = 0; word < 64; word++) assert_int_equal(((uint32_t *)p[0])[word], formats[i].sum);
        machine_destroy(&machine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_ring_works_under_every_schedule),
                                       cmocka_unit_test(a_missing_edge_is_found),
                                       cmocka_unit_test(misuse_is_found),
                                       cmocka_unit_test(stores_need_their_fence_and_wait),
                                       cmocka_unit_test(reductions_add_in_every_format),
                                       cmocka_unit_test(an_end_with_a_copy_under_way_is_found),
                                       cmocka_unit_test(an_mbarrier_needs_its_fence)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
