// Races between the blocks of a cluster: what barrier.cluster, an mbarrier with remote arrivals, and fences order, and
// what is left when one of them is missing.
#include "machine_test.h"

// Two blocks of 64 threads. Each thread has a word of its block (%r5) and knows where the other block has its own
// (%r6); all words are set, all barriers initialised, and the blocks have met, before `body`.
#define KERNEL(body)                                                                                                   \
    ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n"                            \
    ".reg .pred %p<8>, rank1, first;\n.reg .b16 %h<2>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<8>;\n"                        \
    ".shared .align 128 .b8 words[256];\n.shared .align 8 .b8 full[8];\n.shared .align 8 .b8 empty[8];\n"              \
    "ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %cluster_ctarank;\nxor.b32 %r3, %r2, 1;\n"            \
    "setp.eq.u32 rank1, %r2, 1;\nsetp.eq.u32 first, %r1, 0;\n"                                                         \
    "shl.b32 %r4, %r1, 2;\nmov.u32 %r5, words;\nadd.u32 %r5, %r5, %r4;\nmapa.shared::cluster.u32 %r6, %r5, %r3;\n"     \
    "mov.u32 %r7, full;\nmapa.shared::cluster.u32 %r8, %r7, %r3;\nmov.u32 %r9, empty;\n"                               \
    "mapa.shared::cluster.u32 %r10, %r9, %r3;\nst.shared.u32 [%r5], %r1;\n@!first bra READY;\n"                        \
    "mbarrier.init.shared.b64 [%r7], 1;\nmbarrier.init.shared.b64 [%r9], 1;\n"                                         \
    "fence.mbarrier_init.release.cluster;\nREADY:\nfence.proxy.async;\n" MEET body "DONE:\n" MEET "ret;\n}\n"
#define MEET "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n"
#define MEET_RELAXED "barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;\n"

static enum emu_outcome run(struct machine *machine, const char *text, uint64_t seed) {
    uint32_t data[64] = {0};
    *machine = machine_create(90);
    machine->seed = seed;
    machine->settings.schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
    uintptr_t p = machine_buffer(machine, data, sizeof(data));
    machine_load(machine, text);
    return machine_launch(machine, "k", (struct shape){{2, 1, 1}, {64, 1, 1}, 0, {2, 1, 1}}, &p);
}

static void good(const char *text) {
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine machine;
        enum emu_outcome outcome = run(&machine, text, seed);
        if (outcome != EMU_OUTCOME_OK) print_error("seed %d: %s\n", (int)seed, machine.finding);
        assert_int_equal(outcome, EMU_OUTCOME_OK);
        machine_destroy(&machine);
    }
}

// Found whatever the order; one of the two lines is that of the later access.
static void broken(const char *text, const char *line, const char *other) {
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine machine;
        assert_int_equal(run(&machine, text, seed), EMU_OUTCOME_LAUNCH_FAILED);
        if (strstr(machine.finding, "race: ") == NULL || strstr(machine.finding, "of the cluster") == NULL ||
            (strstr(machine.finding, line) == NULL && strstr(machine.finding, other) == NULL)) {
            fail_msg("seed %d: \"%s\" is no race at \"%s\" or \"%s\"", (int)seed, machine.finding, line, other);
        }
        machine_destroy(&machine);
    }
}

#define STORE_REMOTE "st.shared::cluster.u32 [%r6], %r2;\n"
#define LOAD "ld.shared.u32 %r20, [%r5];\n"
#define LOAD_REMOTE "ld.shared::cluster.u32 %r20, [%r6];\n"
#define STORE "st.shared.u32 [%r5], %r2;\n"

static void the_barrier_of_a_cluster_orders(void **state) {
    (void)state;
    good(KERNEL(STORE_REMOTE MEET LOAD));
    broken(KERNEL(STORE_REMOTE LOAD), "st.shared::cluster.u32", "ld.shared.u32 %r20");
    broken(KERNEL(STORE_REMOTE "bar.sync 0;\n" LOAD), "st.shared::cluster.u32", "ld.shared.u32 %r20");
    broken(KERNEL(STORE_REMOTE MEET_RELAXED LOAD), "st.shared::cluster.u32", "ld.shared.u32 %r20");
    good(KERNEL(STORE_REMOTE "fence.acq_rel.cluster;\n" MEET_RELAXED LOAD));
    good(KERNEL(LOAD_REMOTE MEET STORE));
    broken(KERNEL(LOAD_REMOTE STORE), "ld.shared::cluster.u32", "st.shared.u32 [%r5], %r2");
    good(KERNEL(LOAD_REMOTE LOAD));
    good(KERNEL("barrier.cluster.arrive.release;\n" LOAD_REMOTE "barrier.cluster.wait.acquire;\n"));
    broken(KERNEL("barrier.cluster.arrive.release;\n" STORE_REMOTE "barrier.cluster.wait.acquire;\n" LOAD),
           "st.shared::cluster.u32", "ld.shared.u32 %r20");
}

// Another block's memory is there until its last thread has exited; threads that have are not waited for.
static void memory_is_read_before_its_block_exits(void **state) {
    (void)state;
    good(KERNEL("@rank1 bra DONE;\n" LOAD_REMOTE));
    good(KERNEL("setp.gt.u32 %p5, %r1, 31;\n@%p5 ret;\n" MEET LOAD_REMOTE));
    int found = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine machine;
        if (run(&machine, KERNEL("@rank1 ret;\n" LOAD_REMOTE), seed) != EMU_OUTCOME_OK) {
            assert_non_null(strstr(machine.finding, "of block 1 of the cluster, which has exited"));
            found++;
        }
        machine_destroy(&machine);
    }
    assert_in_range(found, 1, 40);
}

static void atomic_operations_are_no_race(void **state) {
    (void)state;
    good(KERNEL("red.shared::cluster.add.u32 [%r6], 1;\nred.shared.add.u32 [%r5], 1;\n" MEET LOAD));
    broken(KERNEL("red.shared::cluster.add.u32 [%r6], 1;\n" LOAD), "red.shared::cluster", "ld.shared.u32 %r20");
}

// Block 0 hands a word to block 1, which waits at its own barrier for the arrival.
#define HANDOVER(store, arrive, wait)                                                                                  \
    KERNEL("@!first bra DONE;\n@rank1 bra CONSUMER;\n" store arrive "bra DONE;\nCONSUMER:\n" wait LOAD)
#define ARRIVE "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r8];\n"
#define WAIT "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p4, [%r7], 0;\n@!%p4 bra CONSUMER;\n"

static void a_remote_arrival_orders(void **state) {
    (void)state;
    good(HANDOVER(STORE_REMOTE, ARRIVE, WAIT));
    broken(HANDOVER("", ARRIVE STORE_REMOTE, WAIT), "st.shared::cluster.u32", "ld.shared.u32 %r20");
    broken(HANDOVER(STORE_REMOTE, ARRIVE, ""), "st.shared::cluster.u32", "ld.shared.u32 %r20");
    broken(HANDOVER(STORE_REMOTE, "mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [%r8];\n", WAIT),
           "st.shared::cluster.u32", "ld.shared.u32 %r20");
    broken(HANDOVER(STORE_REMOTE, ARRIVE,
                    "mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 %p4, [%r7], 0;\n@!%p4 bra CONSUMER;\n"),
           "st.shared::cluster.u32", "ld.shared.u32 %r20");
}

// Block 0 copies into both blocks; each reads what came. A second copy into the same place has to wait for block 1.
#define COPY(bytes)                                                                                                    \
    "mov.u16 %h0, 3;\nmov.u32 %r11, words;\n"                                                                          \
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r11], [%rd1], " bytes      \
    ", [%r7], %h0;\n"
#define EXPECT "mbarrier.arrive.expect_tx.shared.b64 _, [%r7], 256;\n"
#define ARRIVED(label, parity)                                                                                         \
    label ":\nmbarrier.try_wait.parity.shared.b64 %p4, [%r7], " parity ";\n@!%p4 bra " label ";\n"
#define TWICE(release, wait)                                                                                           \
    KERNEL("@!first bra DONE;\n" EXPECT "@rank1 bra OTHER;\n" COPY("256") ARRIVED("ONE", "0")                          \
               LOAD EXPECT wait COPY("256") ARRIVED("TWO", "1") "bra DONE;\nOTHER:\n" ARRIVED("THREE", "0")            \
                   LOAD EXPECT release ARRIVED("FOUR", "1"))

static void a_copy_to_all_blocks_waits_for_all(void **state) {
    (void)state;
    good(TWICE("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r10];\n",
               "FREE:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p5, [%r9], 0;\n@!%p5 bra FREE;\n"));
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine machine;
        assert_int_equal(run(&machine, TWICE("", ""), seed), EMU_OUTCOME_LAUNCH_FAILED);
        assert_non_null(strstr(machine.finding, "race: a write after a "));
        machine_destroy(&machine);
    }
}

// A store that completes at the other block's barrier.
static void an_asynchronous_store_is_awaited(void **state) {
    (void)state;
#define ASYNC(first, wait)                                                                                             \
    KERNEL("@!first bra DONE;\n@rank1 bra CONSUMER;\n" first                                                           \
           "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r6], 7, [%r8];\nbra DONE;\nCONSUMER:\n"        \
           "mbarrier.arrive.expect_tx.shared.b64 _, [%r7], 4;\nAGAIN:\n" wait LOAD "setp.eq.u32 %p5, %r20, 7;\n"       \
           "@!%p5 trap;\n")
    good(ASYNC("", "mbarrier.try_wait.parity.shared.b64 %p4, [%r7], 0;\n@!%p4 bra AGAIN;\n"));
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine machine;
        assert_int_equal(run(&machine, ASYNC("", ""), seed), EMU_OUTCOME_LAUNCH_FAILED);
        machine_destroy(&machine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_barrier_of_a_cluster_orders),    cmocka_unit_test(memory_is_read_before_its_block_exits),
        cmocka_unit_test(atomic_operations_are_no_race),      cmocka_unit_test(a_remote_arrival_orders),
        cmocka_unit_test(a_copy_to_all_blocks_waits_for_all), cmocka_unit_test(an_asynchronous_store_is_awaited)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
