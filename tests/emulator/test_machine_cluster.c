// Two blocks of a cluster: its barrier, stores into the other's shared memory, copies to both.
#include "machine_test.h"

// Each thread stores 1000 * rank + thread into the other block, and both blocks get 64 words of p by one copy.
#define KERNEL(first, meet, address, last)                                                                             \
    ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u64 q)\n{\n"             \
    ".reg .pred %p<8>;\n.reg .b16 %h<2>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<12>;\n"                                     \
    ".shared .align 128 .b8 theirs[256];\n.shared .align 128 .b8 copied[256];\n.shared .align 8 .b8 bar[8];\n"         \
    "ld.param.u64 %rd1, [p];\nld.param.u64 %rd2, [q];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %cluster_ctarank;\n"         \
    "setp.ne.u32 %p1, %r1, 0;\nsetp.ne.u32 %p2, %r2, 0;\n@%p1 bra READY;\n"                                            \
    "mbarrier.init.shared::cta.b64 [bar], 1;\nfence.mbarrier_init.release.cluster;\n"                                  \
    "mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 256;\nREADY:\n" first meet                                    \
    "mov.u32 %r3, theirs;\nshl.b32 %r4, %r1, 2;\nadd.u32 %r3, %r3, %r4;\nxor.b32 %r5, %r2, 1;\n" address               \
    "mad.lo.u32 %r7, %r2, 1000, %r1;\nst.shared::cluster.u32 [%r6], %r7;\nor.pred %p3, %p1, %p2;\n"                    \
    "mov.u16 %h0, 3;\nmov.u32 %r8, copied;\n@%p3 bra COPIED;\n"                                                        \
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r8], [%rd1], 256, [bar], " \
    "%h0;\nCOPIED:\nmbarrier.try_wait.parity.shared::cta.b64 %p4, [bar], 0;\n@!%p4 bra COPIED;\n" last                 \
    "ld.shared.u32 %r9, [%r3];\nadd.u32 %r10, %r8, %r4;\nld.shared.u32 %r11, [%r10];\nadd.u32 %r9, %r9, %r11;\n"       \
    "mad.lo.u32 %r12, %r2, 64, %r1;\nmul.wide.u32 %rd3, %r12, 4;\nadd.u64 %rd3, %rd3, %rd2;\n"                         \
    "st.global.u32 [%rd3], %r9;\nret;\n}\n"
#define MEET "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n"
#define ADDRESS "mapa.shared::cluster.u32 %r6, %r3, %r5;\n"

static enum emu_outcome run(struct machine *machine, const char *text, uint64_t seed, uintptr_t *out) {
    uint32_t words[64];
    for (uint32_t i = 0; i < 64; i++) words[i] = 100000 * i;
    *machine = machine_create(90);
    machine->seed = seed;
    machine->settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
    uintptr_t p[2] = {machine_buffer(machine, words, sizeof(words)), machine_buffer(machine, NULL, 512)};
    *out = p[1];
    machine_load(machine, text);
    return machine_launch(machine, "k", (struct shape){{2, 1, 1}, {64, 1, 1}, 0, {2, 1, 1}}, p);
}

static void good(const char *text) {
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine machine;
        uintptr_t out;
        enum emu_outcome outcome = run(&machine, text, seed, &out);
        if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine.finding);
        assert_int_equal(outcome, EMU_OUTCOME_OK);
        for (uint32_t i = 0; i < 128; i++) {
            assert_int_equal(((uint32_t *)out)[i], i % 64 * 100001 + (i < 64 ? 1000 : 0));
        }
        machine_destroy(&machine);
    }
}

static void broken(const char *text, const char *reason) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct machine machine;
        uintptr_t out;
        assert_int_not_equal(run(&machine, text, seed, &out), EMU_OUTCOME_OK);
        if (strstr(machine.finding, reason) == NULL) fail_msg("\"%s\" lacks \"%s\"", machine.finding, reason);
        machine_destroy(&machine);
    }
}

static void blocks_of_a_cluster_work_together(void **state) {
    (void)state;
    good(KERNEL("", MEET, ADDRESS, MEET));
    good(KERNEL("", "barrier.cluster.arrive;\nbarrier.cluster.wait;\n",
                "cvta.shared.u64 %rd4, theirs;\nmapa.u64 %rd5, %rd4, %r5;\ngetctarank.u64 %r20, %rd5;\n"
                "setp.eq.u32 %p5, %r20, %r5;\n" ADDRESS "@!%p5 trap;\n",
                MEET));
    // A thread that exits counts as arrived.
    good(KERNEL("", MEET, ADDRESS, MEET "setp.gt.u32 %p5, %r1, 64;\n@%p5 ret;\n"));
}

static void misuse_is_found(void **state) {
    (void)state;
    broken(KERNEL("", MEET, "mapa.shared::cluster.u32 %r6, %r3, 2;\n", MEET), "mapa to block 2 of a cluster of 2");
    broken(KERNEL("", "barrier.cluster.arrive;\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\n", ADDRESS, MEET),
           "a second barrier.cluster.arrive");
    broken(KERNEL("", "barrier.cluster.wait;\n", ADDRESS, MEET), "no barrier.cluster.arrive before it");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_of_a_cluster_work_together),
                                       cmocka_unit_test(misuse_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
