// Small broken kernels: each detector fires, with the right line; and correct ones, for which none does.
#include "../cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "machine.h"

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"
#define ENTRY                                                                                                          \
    ".visible .entry k(.param .u64 p)\n{\n.reg .pred %p<4>;\n.reg .b32 %r<16>;\n.reg .b64 %rd<8>;\n"                   \
    "ld.param.u64 %rd1, [p];\ncvta.to.global.u64 %rd1, %rd1;\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n"          \
    "mul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd3, %rd1, %rd2;\n"

static char found[6000];
static int num_found;
static unsigned grid = 1;

static void report(void *user, const char *text) {
    (void)user;
    num_found++;
    snprintf(found, sizeof(found), "%s", text);
}

struct outcome {
    enum emu_outcome outcome;
    uint32_t words[64];
};

// Runs kernel k with one parameter, a buffer of 64 words of which the first `written` hold their index.
static struct outcome run(const char *ptx, unsigned threads, uint32_t written, enum emu_schedule schedule,
                          uint64_t seed) {
    struct emu_settings settings = {
        .arch = 90, .arch_a = true, .checks = true, .threads = 1, .schedule = schedule, .seed = seed};
    struct emu_memory *memory = emu_memory_create(1 << 20);
    char text[1024];
    bool wrong_arch;
    struct emu_module *module = emu_module_create(ptx, strlen(ptx), &settings, memory, text, sizeof(text), &wrong_arch);
    if (module == NULL) fail_msg("%s", text);
    uintptr_t buffer = emu_memory_allocate(memory, 256);
    for (uint32_t i = 0; i < written; i++) ((uint32_t *)buffer)[i] = i;
    emu_memory_mark_written(memory, buffer, written * 4);
    struct emu_launch launch = {.kernel = emu_module_find_kernel(module, "k"),
                                .grid = {grid, 1, 1},
                                .block = {threads, 1, 1},
                                .dynamic_shared_bytes = 1024,
                                .parameters = &buffer,
                                .memory = memory,
                                .settings = &settings,
                                .schedule_seed = seed};
    num_found = 0;
    found[0] = '\0';
    struct outcome outcome = {.outcome = emu_machine_run(&launch, report, NULL)};
    memcpy(outcome.words, (void *)buffer, sizeof(outcome.words));
    emu_module_destroy(module);
    emu_memory_destroy(memory);
    return outcome;
}

static void broken(const char *ptx, unsigned threads, enum emu_outcome outcome, const char *reason, const char *line) {
    struct outcome got = run(ptx, threads, 32, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, outcome);
    assert_int_equal(num_found, 1);
    if (strstr(found, reason) == NULL || strstr(found, line) == NULL)
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", found, reason, line);
}

static void global_accesses_are_checked(void **state) {
    (void)state;
    broken(HEAD ENTRY "st.global.u32 [%rd3+256], %r1;\nret;\n}\n", 1, EMU_OUTCOME_ILLEGAL_ADDRESS,
           "byte 256 of allocation 0, which has 256 bytes", "st.global.u32 [%rd3+256], %r1;");
    broken(HEAD ENTRY "ld.global.v2.u32 {%r3, %r4}, [%rd3+252];\nret;\n}\n", 1, EMU_OUTCOME_ILLEGAL_ADDRESS,
           "read of 8 bytes", "ld.global.v2.u32");
    broken(HEAD ENTRY "ld.global.u32 %r3, [%rd3+2];\nret;\n}\n", 1, EMU_OUTCOME_MISALIGNED, "not aligned",
           "ld.global.u32 %r3, [%rd3+2];");
    broken(HEAD ENTRY "ld.global.u32 %r3, [%rd3+124];\nret;\n}\n", 2, EMU_OUTCOME_LAUNCH_FAILED, "nobody wrote",
           "thread (1, 0, 0)");
    broken(HEAD ENTRY "mov.u64 %rd4, 64;\nst.global.u32 [%rd4], %r1;\nret;\n}\n", 1, EMU_OUTCOME_ILLEGAL_ADDRESS,
           "write of 4 bytes at address 0x40, which is outside every allocation", "line 16");
}

#define SHARED ".shared .align 16 .b8 s[256];\n"

static void shared_accesses_are_checked(void **state) {
    (void)state;
    broken(HEAD SHARED ENTRY "mov.u32 %r3, s;\nst.shared.u32 [%r3+4096], %r1;\nret;\n}\n", 1,
           EMU_OUTCOME_ILLEGAL_ADDRESS, "shared address", "st.shared.u32 [%r3+4096], %r1;");
    broken(HEAD SHARED ENTRY "mov.u32 %r3, s;\nld.shared.u32 %r4, [%r3];\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED,
           "byte 0x400, which nobody wrote", "ld.shared.u32 %r4, [%r3];");
    broken(HEAD SHARED ENTRY "mov.u32 %r3, s;\nst.shared.u32 [%r3+2], %r1;\nret;\n}\n", 1, EMU_OUTCOME_MISALIGNED,
           "not aligned", "st.shared.u32");
}

// Thread t writes word t, then reads word t ^ 32: the other warp's.
#define EXCHANGE(barrier)                                                                                              \
    HEAD SHARED ENTRY                                                                                                  \
        "shl.b32 %r3, %r1, 2;\nmov.u32 %r4, s;\nadd.s32 %r5, %r4, %r3;\nst.shared.u32 [%r5], %r1;\n" barrier           \
        "xor.b32 %r6, %r3, 128;\nadd.s32 %r6, %r4, %r6;\nld.shared.u32 %r7, [%r6];\nst.global.u32 [%rd3], "            \
        "%r7;\nret;\n}\n"

static void a_missing_barrier_is_a_race(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        enum emu_schedule schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
        struct outcome got = run(EXCHANGE(""), 64, 64, schedule, seed);
        assert_int_equal(got.outcome, EMU_OUTCOME_LAUNCH_FAILED);
        got = run(EXCHANGE("bar.sync 0;\n"), 64, 64, schedule, seed);
        assert_int_equal(got.outcome, EMU_OUTCOME_OK);
        assert_int_equal(num_found, 0);
        for (uint32_t i = 0; i < 64; i++) assert_int_equal(got.words[i], i ^ 32);
    }
}

static void a_barrier_that_half_a_warp_passes_by_is_found(void **state) {
    (void)state;
    broken(HEAD ENTRY
           "setp.lt.u32 %p1, %r1, 32;\n@%p1 bar.sync 0;\nsetp.lt.u32 %p2, %r1, 16;\n@%p2 bar.sync 0;\nret;\n}\n",
           64, EMU_OUTCOME_LAUNCH_FAILED, "a barrier under a guard that not all lanes pass", "@%p2 bar.sync 0;");
}

// Exited threads count as arrived.
static void a_barrier_does_not_wait_for_the_exited(void **state) {
    (void)state;
    struct outcome got =
        run(HEAD ENTRY "setp.lt.u32 %p1, %r1, 32;\n@%p1 ret;\nbar.sync 0;\nst.global.u32 [%rd3], %r2;\nret;\n}\n", 64,
            0, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    for (int i = 32; i < 64; i++) assert_int_equal(got.words[i], 0);
}

#define COPY(wait)                                                                                                     \
    HEAD SHARED ENTRY "mov.u32 %r3, s;\nmov.u32 %r4, 16;\ncp.async.cg.shared.global [%r3], [%rd1], 16, "               \
                      "%r4;\ncp.async.commit_group;\n" wait                                                            \
                      "ld.shared.u32 %r5, [%r3+4];\nst.global.u32 [%rd3], %r5;\nret;\n}\n"

static void an_async_copy_needs_its_wait(void **state) {
    (void)state;
    broken(COPY(""), 1, EMU_OUTCOME_LAUNCH_FAILED, "an asynchronous copy that was not waited for",
           "ld.shared.u32 %r5, [%r3+4];");
    broken(COPY("cp.async.wait_group 1;\n"), 1, EMU_OUTCOME_LAUNCH_FAILED,
           "an asynchronous copy that was not waited for", "ld.shared.u32");
    struct outcome got = run(COPY("cp.async.wait_group 0;\n"), 1, 32, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    assert_int_equal(got.words[0], 1);
}

// Divergence and meeting again; shuffles and votes over the whole warp.
static void lanes_meet_again(void **state) {
    (void)state;
    struct outcome got =
        run(HEAD ENTRY "and.b32 %r3, %r1, 3;\nmov.u32 %r4, 0;\n"
                       "loop:\nsetp.ge.u32 %p1, %r4, %r3;\n@%p1 bra done;\nadd.s32 %r4, %r4, 1;\nbra loop;\ndone:\n"
                       "setp.eq.s32 %p2, %r4, 3;\nvote.sync.ballot.b32 %r5, %p2, 0xffffffff;\n"
                       "shfl.sync.bfly.b32 %r6, %r4, 1, 31, 0xffffffff;\n"
                       "shl.b32 %r6, %r6, 8;\nand.b32 %r5, %r5, 255;\nor.b32 %r6, %r6, %r5;\n"
                       "st.global.u32 [%rd3], %r6;\nret;\n}\n",
            32, 0, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(got.words[i], ((i ^ 1) & 3) << 8 | 0x88);
}

static void refused(const char *ptx, const char *message, const char *caret) {
    struct emu_settings settings = {.arch = 80, .checks = true, .threads = 1};
    struct emu_memory *memory = emu_memory_create(1 << 20);
    char text[1024];
    bool wrong_arch;
    assert_null(emu_module_create(ptx, strlen(ptx), &settings, memory, text, sizeof(text), &wrong_arch));
    if (strstr(text, message) == NULL || strstr(text, caret) == NULL)
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", text, message, caret);
    emu_memory_destroy(memory);
}

static void what_is_not_known_is_refused_with_a_caret(void **state) {
    (void)state;
    refused(HEAD ENTRY "  tcgen05.alloc.whatever;\nret;\n}\n",
            "ptx:15:3: instruction tcgen05.alloc.whatever is not supported", "  tcgen05.alloc.whatever;\n  ^");
    refused(
        HEAD ENTRY
        "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%r3], [%rd1, {%r4, %r5, "
        "%r6}], [%r7], {%h0};\nret;\n}\n",
        "instruction cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes is not "
        "supported "
        "in this form",
        "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%r3]");
    refused(HEAD ENTRY "add.what.s32 %r3, %r1, %r2;\nret;\n}\n", "is not supported in this form", "^");
    refused(HEAD ENTRY "elect.sync _|%p1, -1;\nret;\n}\n", "needs sm_90", "^");
    refused(HEAD ENTRY "add.s32 %r3, %r1, %rd1;\nret;\n}\n", "register %rd1 has 64 bits where 32 are wanted", "^");
    refused(HEAD ENTRY "bra nowhere;\nret;\n}\n", "there is no label \"nowhere\"", "bra nowhere;\n    ^");
    refused(HEAD ENTRY "add.s32 %r3, %r1, %r99;\nret;\n}\n", "\"%r99\" is not declared", "^");
    refused(HEAD ENTRY "add.s32 %r3, %r1;\nret;\n}\n", "expected \",\" here", "^");
    refused(HEAD ENTRY "add.s32 %r3, %r1, 1.5;\nret;\n}\n", "a floating-point number where .s32 is wanted", "^");
    refused(HEAD ENTRY "ret;\n", "the text ends inside a body", "^");
    refused(".version 8.0\n.target sm_90a\n", "the module is made for sm_90a, and the emulator plays sm_80", "^");
    refused("", "PTX begins with .version", "^");
}

// Cut at any place, or with any one character spoilt, the text is read or refused, and nothing else happens.
static void broken_text_is_survived(void **state) {
    (void)state;
    char text[1200], why[1024];
    struct emu_settings settings = {.arch = 80, .checks = true, .threads = 1};
    bool wrong_arch;
    snprintf(
        text, sizeof(text), "%s",
        HEAD SHARED
        ".const .align 4 .b32 c[2] = {1, 0f3F800000};\n" ENTRY
        "{ .reg .b16 l, h; mov.b32 {l, h}, %r1; }\n@!%p1 bra A;\nld.shared.v2.b32 {%r3, %r4}, [s+8];\nA: ret;\n}\n");
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        for (int kind = 0; kind < 3; kind++) {
            struct emu_memory *memory = emu_memory_create(1 << 20);
            char kept = text[i];
            text[i] = kind == 0 ? '\0' : kind == 1 ? '{' : '9';
            emu_module_destroy(emu_module_create(text, strlen(text), &settings, memory, why, sizeof(why), &wrong_arch));
            text[i] = kept;
            emu_memory_destroy(memory);
        }
    }
}

static void races_within_a_warp_are_found(void **state) {
    (void)state;
    // Thread t reads what thread t ^ 1 wrote, with and without a barrier of the warp between.
#define NEIGHBOUR(barrier)                                                                                             \
    HEAD SHARED ENTRY                                                                                                  \
        "shl.b32 %r3, %r1, 2;\nmov.u32 %r4, s;\nadd.s32 %r5, %r4, %r3;\nst.shared.u32 [%r5], %r1;\n" barrier           \
        "xor.b32 %r6, %r3, 4;\nadd.s32 %r6, %r4, %r6;\nld.shared.u32 %r7, [%r6];\nst.global.u32 [%rd3], "              \
        "%r7;\nret;\n}\n"
    broken(NEIGHBOUR(""), 32, EMU_OUTCOME_LAUNCH_FAILED, "race: a read after a write of 4 bytes",
           "ld.shared.u32 %r7, [%r6];");
    struct outcome got = run(NEIGHBOUR("bar.warp.sync -1;\n"), 32, 0, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(got.words[i], i ^ 1);
    // Neighbouring bytes of one word are different places; the same byte is not.
    got = run(HEAD SHARED ENTRY "mov.u32 %r4, s;\nadd.s32 %r5, %r4, %r1;\nst.shared.u8 [%r5], %r1;\nret;\n}\n", 64, 0,
              EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    broken(HEAD SHARED ENTRY "mov.u32 %r4, s;\nshr.u32 %r5, %r1, 1;\nadd.s32 %r5, %r4, %r5;\nst.shared.u8 [%r5], "
                             "%r1;\nret;\n}\n",
           64, EMU_OUTCOME_LAUNCH_FAILED, "race: a write after a write of 1 bytes", "st.shared.u8");
    // Reads, then a write by another warp.
    broken(HEAD SHARED ENTRY
           "mov.u32 %r4, s;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.u32 [%r4], %r1;\nbar.sync 0;\nld.shared.u32 %r5, "
           "[%r4];\nsetp.eq.u32 %p2, %r1, 33;\n@%p2 st.shared.u32 [%r4], %r1;\nret;\n}\n",
           64, EMU_OUTCOME_LAUNCH_FAILED, "race: ", "s");
    // Atomic operations of many threads are none.
    got = run(
        HEAD SHARED ENTRY
        "mov.u32 %r4, s;\nsetp.eq.u32 %p1, %r1, 0;\nmov.u32 %r5, 0;\n@%p1 st.shared.u32 [%r4], %r5;\nbar.sync 0;\n"
        "red.shared.add.u32 [%r4], 1;\nbar.sync 0;\nld.shared.u32 %r6, [%r4];\nst.global.u32 [%rd3], %r6;\nret;\n}\n",
        64, 0, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    assert_int_equal(got.words[63], 64);
}

static void registers_that_nobody_set_are_found(void **state) {
    (void)state;
    broken(HEAD ENTRY "add.s32 %r3, %r4, 1;\nst.global.u32 [%rd3], %r3;\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED,
           "read of register %r4, which the thread has not set", "add.s32 %r3, %r4, 1;");
    broken(HEAD ENTRY "@%p3 bra DONE;\nDONE:\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED, "register %p3", "@%p3 bra");
    broken(HEAD ENTRY "st.global.u64 [%rd5], %rd2;\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED, "register %rd5",
           "st.global.u64");
    // Set by the lanes below 16, read by all of them.
    broken(HEAD ENTRY "setp.lt.u32 %p1, %r1, 16;\n@%p1 mov.u32 %r3, 7;\nst.global.u32 [%rd3], %r3;\nret;\n}\n", 32,
           EMU_OUTCOME_LAUNCH_FAILED, "register %r3", "thread (16, 0, 0)");
    // On one of two ways; the loop's first round.
    broken(HEAD ENTRY "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra THERE;\nmov.u32 %r3, 7;\nTHERE:\nst.global.u32 [%rd3], "
                      "%r3;\nret;\n}\n",
           32, EMU_OUTCOME_LAUNCH_FAILED, "register %r3", "thread (0, 0, 0)");
    broken(HEAD ENTRY "mov.u32 %r4, 0;\nAGAIN:\nadd.u32 %r4, %r4, %r5;\nmov.u32 %r5, 1;\nsetp.lt.u32 %p1, %r4, 3;\n"
                      "@%p1 bra AGAIN;\nret;\n}\n",
           1, EMU_OUTCOME_LAUNCH_FAILED, "register %r5", "add.u32 %r4, %r4, %r5;");
    // Through copies; a name of an inner scope.
    broken(HEAD ENTRY "mov.u32 %r3, %r4;\nmov.b64 %rd4, {%r3, %r5};\nadd.s64 %rd5, %rd4, 1;\nret;\n}\n", 1,
           EMU_OUTCOME_LAUNCH_FAILED, "register %rd4", "add.s64 %rd5, %rd4, 1;");
    broken(HEAD ENTRY "{\n.reg .b32 inner;\nadd.s32 %r3, inner, 1;\n}\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED,
           "register inner", "add.s32 %r3, inner, 1;");
}

// Both ways set it, complementary guards set it, a copy that nobody uses, half of a pair, lanes that set it and lanes
// that read it are the same.
static void registers_set_on_every_way_are_fine(void **state) {
    (void)state;
    struct outcome got =
        run(HEAD ENTRY "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra LOW;\nmov.u32 %r3, 7;\nbra JOIN;\nLOW:\nmov.u32 %r3, 9;\n"
                       "JOIN:\n@%p1 mov.u32 %r4, 1;\n@!%p1 mov.u32 %r4, 2;\nadd.u32 %r3, %r3, %r4;\nmov.u32 %r5, %r6;\n"
                       "mov.b32 %r6, %r5;\nmov.b64 %rd4, {%r3, %r5};\ncvt.u32.u64 %r7, %rd4;\n"
                       "@%p1 mov.u32 %r8, 100;\n@%p1 add.u32 %r7, %r7, %r8;\nst.global.u32 [%rd3], %r7;\nret;\n}\n",
            32, 0, EMU_SCHEDULE_SEEDED, 0);
    if (got.outcome != EMU_OUTCOME_OK) fail_msg("%s", found);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(got.words[i], i < 16 ? 110 : 9);
}

static void races_between_blocks_are_found(void **state) {
    (void)state;
    grid = 3;
    broken(HEAD ENTRY "st.global.u32 [%rd3], %r1;\nret;\n}\n", 4, EMU_OUTCOME_LAUNCH_FAILED,
           "another one both touch address", "block");
    struct outcome got =
        run(HEAD ENTRY "shl.b32 %r3, %r2, 4;\ncvt.u64.u32 %rd4, %r3;\nadd.s64 %rd3, %rd3, %rd4;\nst.global.u32 [%rd3], "
                       "%r2;\nret;\n}\n",
            4, 0, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    for (uint32_t i = 0; i < 12; i++) assert_int_equal(got.words[i], i / 4);
    got = run(HEAD ENTRY "red.global.add.u32 [%rd1], 1;\nret;\n}\n", 64, 32, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
    assert_int_equal(got.words[0], 192);
    grid = 1;
}

// Producer and consumer warps on two named barriers, in any order of warps.
static void named_barriers_order_warps(void **state) {
    (void)state;
#define HANDOVER(full, empty)                                                                                          \
    HEAD SHARED ENTRY "mov.u32 %r3, s;\nmov.u32 %r4, 0;\nshr.u32 %r5, %r1, 5;\nsetp.eq.u32 %p1, %r5, 0;\n"             \
                      "and.b32 %r6, %r1, 31;\nshl.b32 %r7, %r6, 2;\nadd.s32 %r3, %r3, %r7;\nmov.u32 %r8, 0;\n"         \
                      "@!%p1 bra CONSUMER;\n"                                                                          \
                      "PRODUCER:\n" empty "add.s32 %r9, %r6, %r4;\nst.shared.u32 [%r3], %r9;\n" full                   \
                      "add.s32 %r4, %r4, 1;\nsetp.lt.u32 %p2, %r4, 5;\n@%p2 bra PRODUCER;\nret;\n"                     \
                      "CONSUMER:\nbar.arrive 2, 64;\nLOOP:\nbar.sync 1, 64;\nld.shared.u32 %r9, [%r3];\n"              \
                      "add.s32 %r8, %r8, %r9;\nadd.s32 %r4, %r4, 1;\nsetp.lt.u32 %p2, %r4, 5;\n"                       \
                      "@%p2 bar.arrive 2, 64;\n@%p2 bra LOOP;\nst.global.u32 [%rd3], %r8;\nret;\n}\n"
    for (uint64_t seed = 0; seed < 50; seed++) {
        enum emu_schedule schedule = seed % 2 == 0 ? EMU_SCHEDULE_SEEDED : EMU_SCHEDULE_ADVERSARIAL;
        struct outcome got = run(HANDOVER("bar.arrive 1, 64;\n", "bar.sync 2, 64;\n"), 64, 0, schedule, seed);
        assert_int_equal(got.outcome, EMU_OUTCOME_OK);
        for (uint32_t i = 0; i < 32; i++) assert_int_equal(got.words[32 + i], 5 * i + 10);
    }
    broken(HANDOVER("bar.arrive 1, 64;\n", "bar.sync 3, 64;\n"), 64, EMU_OUTCOME_LAUNCH_FAILED,
           "waits at barrier 3, where 32 of 64 threads are", "bar.sync 3, 64;");
    broken(HEAD ENTRY "bar.sync 16;\nret;\n}\n", 32, EMU_OUTCOME_LAUNCH_FAILED, "a block has barriers 0 to 15",
           "bar.sync 16;");
    broken(HEAD ENTRY "bar.sync 1, 33;\nret;\n}\n", 32, EMU_OUTCOME_LAUNCH_FAILED, "must be a multiple of 32",
           "bar.sync 1, 33;");
}

static void deadlocks_name_those_who_wait(void **state) {
    (void)state;
    // Lanes below 16 wait for all 32 in a vote, the others at the barrier.
    broken(HEAD ENTRY
           "setp.lt.u32 %p1, %r1, 16;\n@!%p1 bra OTHER;\nvote.sync.any.pred %p2, %p1, -1;\nret;\nOTHER:\nbar.sync "
           "0;\nret;\n}\n",
           64, EMU_OUTCOME_LAUNCH_FAILED, "deadlock", "waits for other lanes of its warp");
    broken(HEAD ENTRY "setp.eq.u32 %p1, %r1, 0;\nvote.sync.any.pred %p2, %p1, 2;\nret;\n}\n", 1,
           EMU_OUTCOME_LAUNCH_FAILED, "not among the members 0x00000002", "vote.sync.any.pred");
    broken(HEAD ENTRY "trap;\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED, "the kernel traps", "trap;");
}

// A lane that spins for another one of its warp lets it run.
static void spinning_lanes_let_others_run(void **state) {
    (void)state;
    struct outcome got =
        run(HEAD ENTRY "setp.eq.u32 %p1, %r1, 7;\nmov.u32 %r5, 42;\n@%p1 bra SET;\nWAIT:\nld.volatile.global.u32 %r3, "
                       "[%rd1+128];\nsetp.ne.u32 %p2, %r3, 42;\n@%p2 bra WAIT;\nret;\nSET:\nst.volatile.global.u32 "
                       "[%rd1+128], %r5;\nret;\n}\n",
            32, 64, EMU_SCHEDULE_SEEDED, 0);
    assert_int_equal(got.outcome, EMU_OUTCOME_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(global_accesses_are_checked),
        cmocka_unit_test(shared_accesses_are_checked),
        cmocka_unit_test(a_missing_barrier_is_a_race),
        cmocka_unit_test(a_barrier_that_half_a_warp_passes_by_is_found),
        cmocka_unit_test(a_barrier_does_not_wait_for_the_exited),
        cmocka_unit_test(an_async_copy_needs_its_wait),
        cmocka_unit_test(lanes_meet_again),
        cmocka_unit_test(what_is_not_known_is_refused_with_a_caret),
        cmocka_unit_test(broken_text_is_survived),
        cmocka_unit_test(races_within_a_warp_are_found),
        cmocka_unit_test(registers_that_nobody_set_are_found),
        cmocka_unit_test(registers_set_on_every_way_are_fine),
        cmocka_unit_test(races_between_blocks_are_found),
        cmocka_unit_test(named_barriers_order_warps),
        cmocka_unit_test(deadlocks_name_those_who_wait),
        cmocka_unit_test(spinning_lanes_let_others_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
