// Reading nvdisasm's text: pipes of opcodes, loops and what is none, and the loops that matter.
#include "../cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sass.h"
#include "sass_text.h"

#define HEAD                                                                                                           \
    "\t.target\tsm_90a\n\n//--------------------- .text.kernel --------------------------\n"                           \
    "\t.section\t.text.kernel,\"ax\",@progbits\n        .size           kernel,(.L_x_9 - kernel)\n"                    \
    "kernel:\n.text.kernel:\n"
// Branches to labels alone count; the address is not read.
#define I(text) "        /*0010*/                   " text " ;\n"
#define G(guard, text) "        /*0010*/              " guard " " text " ;\n"

static struct sass_loops read(const char *text) {
    struct sass_loops loops;
    char message[256] = "";
    bool good = sass_read(text, &loops, message, sizeof(message));
    if (!good) fail_msg("%s", message);
    return loops;
}

static void opcodes_have_pipes(void **state) {
    (void)state;
    static const struct {
        const char *opcode;
        enum mj_pipe pipe;
    } cases[] = {{"LOP3.LUT", MJ_PIPE_INTEGER},
                 {"IMAD.MOV.U32", MJ_PIPE_MULTIPLY},
                 {"IMAD", MJ_PIPE_MULTIPLY},
                 {"HMUL2.BF16_V2", MJ_PIPE_FMA},
                 {"F2FP.BF16.F32.PACK_AB", MJ_PIPE_CONVERT},
                 {"MUFU.RCP", MJ_PIPE_SPECIAL},
                 {"LDS.128", MJ_PIPE_SHARED},
                 {"LDSM.16.M88.4", MJ_PIPE_SHARED},
                 {"LDGSTS.E.BYPASS.128", MJ_PIPE_GLOBAL},
                 {"UBLKCP.S.G", MJ_PIPE_GLOBAL},
                 {"HGMMA.64x8x16.F32.BF16", MJ_PIPE_TENSOR},
                 {"HMMA.16816.F32.BF16", MJ_PIPE_TENSOR},
                 {"OMMA.SF.16864.F32.E2M1.E2M1.UE4M3.4X", MJ_PIPE_TENSOR},
                 {"ISETP.NE.S64.AND", MJ_PIPE_INTEGER}, // sm_120 has 64-bit ones
                 {"IADD.64", MJ_PIPE_INTEGER},
                 {"MOV.64", MJ_PIPE_INTEGER},
                 {"UIADD3", MJ_PIPE_UNIFORM},
                 {"R2UR", MJ_PIPE_UNIFORM},
                 {"SYNCS.PHASECHK.TRANS64.TRYWAIT", MJ_PIPE_CONTROL},
                 {"WARPGROUP.DEPBAR.LE", MJ_PIPE_CONTROL}};
    enum mj_pipe pipe;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(sass_pipe(cases[i].opcode, &pipe));
        if (pipe != cases[i].pipe) fail_msg("%s is %s", cases[i].opcode, mj_pipe_name(pipe));
    }
    assert_false(sass_pipe("FLY.FAST", &pipe));
    assert_false(sass_pipe("OP3", &pipe)); // no part of another name counts
    assert_false(sass_pipe("HMM", &pipe));
    assert_false(sass_pipe("", &pipe));
}

static void lines_become_instructions(void **state) {
    (void)state;
    struct sass_text code;
    assert_true(sass_text_read(HEAD I("LDC R1, c[0x0][0x28]") ".L_x_1:\n" G("@!PT", "LDS RZ, [RZ]")
                                   G("@!P0", "BRA `(.L_x_1)") I("BSSY B0, `(.L_x_2)") I("EXIT") ".L_x_2:\n",
                               &code));
    assert_int_equal(code.count, 5);
    assert_string_equal(code.list[0].opcode, "LDC");
    assert_int_equal(code.list[0].target, -1);
    assert_int_equal(code.list[0].registers[0], 1);
    assert_int_equal(code.list[0].registers[1], -1);
    assert_true(code.list[1].off);
    assert_true(code.list[2].guarded && !code.list[2].off);
    assert_int_equal(code.list[2].target, 1);
    assert_int_equal(code.list[3].target, -1); // past the end
    sass_text_free(&code);
}

// What ptxas makes of a Hopper kernel, shortened: a loop that copies with a loop inside, and two that multiply, inside
// the loop over tiles; a wait's spin stands at the end and jumps back into the middle of the wide loop.
#define HOPPER                                                                                                         \
    HEAD I("S2R R0, SR_TID.X") G("@P0", "BRA `(.L_x_5)") ".L_x_1:\n" I("MOV R1, R2") ".L_x_2:\n" I(                    \
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P3, [R17+URZ], R16") ".L_x_3:\n" I("UBLKCP.S.G [UR8], [UR6], UR4")             \
        G("@P0", "BRA.U.ANY `(.L_x_3)") I("LDGSTS.E.BYPASS.128 [R29], desc[UR10][R24.64], P2") I("VIADD R1, R1, 0x1")  \
            G("@!P3", "BRA `(.L_x_2)") G("@P1", "BRA `(.L_x_1)") I("EXIT") ".L_x_5:\n" I(                              \
                "CS2R R24, SRZ") ".L_x_6:\n" I("SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R11+URZ], R10")                    \
                G("@!P0", "BRA `(.L_x_8)") ".L_x_7:\n" G("@!PT", "LDS RZ, [RZ]") I("LDS.128 R8, [R16+0x800]")          \
                    I("LDS.64 R18, [R14+0x1000]") I("LOP3.LUT R40, R8.reuse, 0x81c081c0, RZ, 0xc0, !PT")               \
                        I("HMUL2.BF16_V2 R40, R40, R42.reuse") I("HGMMA.64x64x16.F32.BF16 R24, R40, gdesc[UR4], R24")  \
                            I("HGMMA.64x64x16.F32.BF16 R24, R36, gdesc[UR4], R24, gsb0")                               \
                                G("@!P1", "BRA `(.L_x_6)") ".L_x_4:\n" I("LDG.E R1, desc[UR10][R2.64]")                \
                                    I("HGMMA.64x16x16.F32.BF16 R24, R40, gdesc[UR4], R24, gsb0")                       \
                                        G("@!P1", "BRA `(.L_x_4)") G("@P2", "BRA `(.L_x_5)") I("EXIT") ".L_x_8:\n" I(  \
                                            "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R11+URZ], R10")                       \
                                            G("@!P0", "BRA `(.L_x_8)") I("BRA `(.L_x_7)")

static void a_hopper_kernel_has_a_loop_for_each_width_and_one_that_copies(void **state) {
    (void)state;
    struct sass_loops loops = read(HOPPER);
    assert_int_equal(loops.num_multiplying, 2);
    const struct mj_loop *narrow = &loops.multiplying[0], *wide = &loops.multiplying[1];
    assert_int_equal(narrow->width, 16);
    assert_int_equal(narrow->products, 64 * 16 * 16 / 4);
    assert_int_equal(narrow->narrow_loads, 1);
    assert_int_equal(wide->width, 64);
    assert_int_equal(wide->products, 2 * 64 * 64 * 16 / 4);
    assert_int_equal(wide->waits, 1);
    assert_int_equal(wide->shared_wavefronts, 4 + 2);
    assert_int_equal(wide->narrow_loads, 0);
    assert_int_equal(wide->instructions[MJ_PIPE_SHARED], 2);
    assert_int_equal(wide->instructions[MJ_PIPE_CONTROL], 4); // the wait, two branches, the load that is off
    assert_int_equal(wide->instructions[MJ_PIPE_INTEGER], 1);
    assert_int_equal(wide->instructions[MJ_PIPE_FMA], 1);
    assert_int_equal(wide->instructions[MJ_PIPE_TENSOR], 2);
    assert_int_equal(loops.copying.count, 1);
    assert_int_equal(loops.copying.loops[0].instructions[MJ_PIPE_GLOBAL], 2);
    assert_int_equal(loops.copying.loops[0].instructions[MJ_PIPE_CONTROL], 3);
    assert_int_equal(loops.copying.loops[0].instructions[MJ_PIPE_INTEGER], 1); // without the outer loop's
    assert_string_equal(loops.unknown, "");
}

// One warp copies weights in bulk, others token rows in pieces; which stands first does not matter.
static void two_loops_that_copy_are_told_by_what_they_copy(void **state) {
    (void)state;
    struct sass_loops loops =
        read(HEAD G("@P0", "BRA `(.L_x_2)") ".L_x_1:\n" I("SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R11+URZ], R10")
                 I("LDGSTS.E.BYPASS.128 [R29], desc[UR10][R24.64]") I("LDGSTS.E.BYPASS.128 [R31], desc[UR10][R26.64]")
                     G("@P1", "BRA `(.L_x_1)") ".L_x_2:\n" I("SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R11+URZ], R10")
                         I("UBLKCP.S.G [UR8], [UR6], UR4")
                             G("@P1", "BRA `(.L_x_2)") ".L_x_3:\n" I("HMMA.16816.F32.BF16 R28, R28, "
                                                                     "R38, R4") G("@P1", "BRA `(.L_x_3)") I("EXIT"));
    assert_int_equal(loops.copying.count, 2);
    assert_int_equal(loops.copying.loops[0].instructions[MJ_PIPE_GLOBAL], 1);
    assert_int_equal(loops.copying.loops[1].instructions[MJ_PIPE_GLOBAL], 2);
}

// Two wgmmas of 128 tokens with one A, and two row blocks of a warpgroup with an A each.
static void accumulators_tell_tokens_and_rows(void **state) {
    (void)state;
    struct sass_loops tokens =
        read(HEAD ".L_x_1:\n" I("HGMMA.64x128x16.F32.BF16 R24, R8, gdesc[UR4], R24")
                 I("HGMMA.64x128x16.F32.BF16 R88, R8, gdesc[UR8], R88, gsb0")
                     I("HGMMA.64x128x16.F32.BF16 R24, R12, gdesc[UR4], R24")
                         I("HGMMA.64x128x16.F32.BF16 R88, R12, gdesc[UR8], R88, gsb0") G("@P0", "BRA `(.L_x_1)"));
    assert_int_equal(tokens.multiplying[0].width, 256);
    assert_int_equal(tokens.multiplying[0].row_blocks, 1);
    assert_int_equal(tokens.multiplying[0].products, 4 * 64 * 128 * 16 / 4);
    struct sass_loops rows = read(HEAD ".L_x_1:\n" I("HGMMA.64x128x16.F32.BF16 R24, R8, gdesc[UR4], R24") I(
        "HGMMA.64x128x16.F32.BF16 R88, R12, gdesc[UR4], R88, gsb0") G("@P0", "BRA `(.L_x_1)"));
    assert_int_equal(rows.multiplying[0].width, 128);
    assert_int_equal(rows.multiplying[0].row_blocks, 2);
    // A from shared memory.
    struct sass_loops shared =
        read(HEAD ".L_x_1:\n" I("HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24, gsb0") G("@P0", "BRA `(.L_x_1)"));
    assert_int_equal(shared.multiplying[0].width, 128);
    assert_int_equal(shared.multiplying[0].row_blocks, 1);
}

static void a_portable_loop_copies_and_multiplies(void **state) {
    (void)state;
    struct sass_loops loops =
        read(HEAD ".L_x_1:\n" I("LDGSTS.E.BYPASS.128 [R29], desc[UR10][R24.64], P2") I("LDSM.16.M88.4 R4, [R5]")
                 I("FLY.FAST R1") I("FLY.FAST R2") I("HMMA.16816.F32.BF16 R28, R28, R38, R4") G("@P0", "BRA `(.L_x_1)")
                     I("EXIT"));
    assert_int_equal(loops.num_multiplying, 1);
    assert_int_equal(loops.multiplying[0].width, 0);
    assert_int_equal(loops.multiplying[0].products, 16 * 8 * 16);
    assert_int_equal(loops.multiplying[0].shared_wavefronts, 4);
    assert_int_equal(loops.multiplying[0].instructions[MJ_PIPE_CONTROL], 3);
    assert_int_equal(loops.copying.count, 0);
    assert_string_equal(loops.unknown, "FLY.FAST");
}

// As NVRTC writes it for sm_120a: 8 bytes a lane are scales of one token.
static void a_block_scaled_loop_is_read(void **state) {
    (void)state;
    struct sass_loops loops =
        read(HEAD ".L_x_1:\n" I("LDGSTS.E.BYPASS.128 [R27], desc[UR10][R24.64], P0")
                 I("LDGSTS.E.64 [R21], desc[UR10][R22.64], P4") I("LDSM.16.M88.2 R46, [R46]") I("LDS.64 R30, [R30]")
                     I("OMMA.SF.16864.F32.E2M1.E2M1.UE4M3.4X R4, R20, R46, R4, R67, R30, URZ")
                         I("OMMA.SF.16864.F32.E2M1.E2M1.UE4M3.4X R4, R24, R42, R4, R64, R31, UR7")
                             G("@P6", "BRA `(.L_x_1)") I("EXIT"));
    assert_int_equal(loops.num_multiplying, 1);
    assert_int_equal(loops.multiplying[0].width, 0);
    assert_int_equal(loops.multiplying[0].products, 2 * 16 * 8 * 64);
    assert_int_equal(loops.multiplying[0].instructions[MJ_PIPE_TENSOR], 2);
    assert_int_equal(loops.multiplying[0].shared_wavefronts, 4);
    assert_int_equal(loops.multiplying[0].narrow_loads, 1);
    assert_string_equal(loops.unknown, "");
}

static void text_without_a_loop_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "\n",
                                        "/*",
                                        "/*0",
                                        "/*0*/",
                                        ".L_x_1:",
                                        "nvdisasm fatal   : not an image\n",
                                        HEAD I("HGMMA.64x64x16.F32.BF16 R24, R40, gdesc[UR4], R24") I("EXIT"),
                                        HEAD ".L_x_1:\n" I("MOV R1, R2") G("@P0", "BRA `(.L_x_1)")};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sass_loops loops;
        char message[256] = "";
        assert_false(sass_read(texts[i], &loops, message, sizeof(message)));
        assert_non_null(strstr(message, "no loop among them has a product"));
    }
}

// Cut anywhere, it is read or refused, and nothing is touched that is not there (the sanitizers look on).
static void a_cut_text_does_no_harm(void **state) {
    (void)state;
    size_t length = strlen(HOPPER);
    for (size_t cut = 0; cut < length; cut++) {
        struct sass_loops loops;
        char message[256], *text = malloc(cut + 1);
        assert_non_null(text);
        memcpy(text, HOPPER, cut);
        text[cut] = '\0';
        sass_read(text, &loops, message, sizeof(message));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opcodes_have_pipes),
        cmocka_unit_test(lines_become_instructions),
        cmocka_unit_test(a_hopper_kernel_has_a_loop_for_each_width_and_one_that_copies),
        cmocka_unit_test(two_loops_that_copy_are_told_by_what_they_copy),
        cmocka_unit_test(accumulators_tell_tokens_and_rows),
        cmocka_unit_test(a_portable_loop_copies_and_multiplies),
        cmocka_unit_test(a_block_scaled_loop_is_read),
        cmocka_unit_test(text_without_a_loop_is_refused),
        cmocka_unit_test(a_cut_text_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
