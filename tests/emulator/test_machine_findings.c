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

static char found[2048];
static int num_found;

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
                                .grid = {1, 1, 1},
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
           "outside every allocation", "st.global.u32 [%rd3+256], %r1;");
    broken(HEAD ENTRY "ld.global.v2.u32 {%r3, %r4}, [%rd3+252];\nret;\n}\n", 1, EMU_OUTCOME_ILLEGAL_ADDRESS,
           "read of 8 bytes", "ld.global.v2.u32");
    broken(HEAD ENTRY "ld.global.u32 %r3, [%rd3+2];\nret;\n}\n", 1, EMU_OUTCOME_MISALIGNED, "not aligned",
           "ld.global.u32 %r3, [%rd3+2];");
    broken(HEAD ENTRY "ld.global.u32 %r3, [%rd3+124];\nret;\n}\n", 2, EMU_OUTCOME_LAUNCH_FAILED,
           "nobody has written all", "thread (1, 0, 0)");
    broken(HEAD ENTRY "mov.u64 %rd4, 64;\nst.global.u32 [%rd4], %r1;\nret;\n}\n", 1, EMU_OUTCOME_ILLEGAL_ADDRESS,
           "write of 4 bytes at 0x40", "line 16");
}

#define SHARED ".shared .align 16 .b8 s[256];\n"

static void shared_accesses_are_checked(void **state) {
    (void)state;
    broken(HEAD SHARED ENTRY "mov.u32 %r3, s;\nst.shared.u32 [%r3+4096], %r1;\nret;\n}\n", 1,
           EMU_OUTCOME_ILLEGAL_ADDRESS, "shared address", "st.shared.u32 [%r3+4096], %r1;");
    broken(HEAD SHARED ENTRY "mov.u32 %r3, s;\nld.shared.u32 %r4, [%r3];\nret;\n}\n", 1, EMU_OUTCOME_LAUNCH_FAILED,
           "nobody has written all", "ld.shared.u32 %r4, [%r3];");
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
    broken(COPY(""), 1, EMU_OUTCOME_LAUNCH_FAILED, "nobody has written all", "ld.shared.u32 %r5, [%r3+4];");
    broken(COPY("cp.async.wait_group 1;\n"), 1, EMU_OUTCOME_LAUNCH_FAILED, "nobody has written all", "ld.shared.u32");
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
    refused(HEAD ENTRY "  wgmma.fence.sync.aligned;\nret;\n}\n",
            "ptx:15:3: instruction wgmma.fence.sync.aligned is not supported", "  wgmma.fence.sync.aligned;\n  ^");
    refused(HEAD ENTRY "add.s32 %r3, %r1, %rd1;\nret;\n}\n",
            "%rd1 is a 64-bit register, needs a 16- or 32-bit register", "^");
    refused(HEAD ENTRY "bra nowhere;\nret;\n}\n", "there is no label nowhere", "bra nowhere;\n    ^");
    refused(HEAD ENTRY "add.s32 %r3, %r1, %r99;\nret;\n}\n", "%r99 is not declared", "^");
    refused(HEAD ENTRY "ret;\n", "the text ends inside a kernel", "^");
    refused(".version 8.0\n.target sm_90a\n", "target sm_90a does not run on the arch played, sm_80", "^");
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
