// mma.sync m16n8k64 of e2m1 factors with a ue4m3 scale for each 16 of K (PTX ISA, "Block Scaling for mma.sync" and
// "Matrix Fragments for mma.m16n8k64"). Lane l is in group l / 4 and there number l % 4. A register holds eight codes,
// element 0 in the low bits. A's registers: rows of the group, eight below, the group again with k from 32 on, eight
// below; B's: k from 0, from 32. The four scales of a row of A or column of B are one word, byte 0 for k 0 to 15:
// of rows g and g + 8 in lanes number 2 s and 2 s + 1 of group g, s being thread-id-a (0, 1); of column g in lane
// number thread-id-b (0 to 3). Other lanes' words do not count. scale_vec::4X has byte-id 0 alone.
#include "arithmetic.h"
#include "arithmetic_scaled.h"
#include "warp.h"

enum { RESULT = 0, A = 4, B = 8, ADDEND = 10, A_SCALES = 14, A_SELECTOR = 15, B_SCALES = 17, B_SELECTOR = 18 };

static void gather_codes(uint32_t word, uint8_t *codes) {
    for (uint32_t i = 0; i < 8; i++) codes[i] = (uint8_t)(word >> 4 * i & 15);
}

static void gather_factors(const struct emu_warp *warp, const struct emu_instruction *instruction,
                           struct emu_scaled_step *step) {
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t *words = EMU_32(A + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++)
            gather_codes(words[lane], &step->a[lane / 4 + i % 2 * 8][lane % 4 * 8 + i / 2 * 32]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t *words = EMU_32(B + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++)
            gather_codes(words[lane], &step->b[lane / 4][lane % 4 * 8 + i * 32]);
    }
}

// The scales of `rows` rows, which lanes number first_number and up of the groups hold.
static bool gather_scales(struct emu_warp *warp, const uint32_t *words, uint32_t rows, uint32_t first_number,
                          uint8_t scales[][EMU_SCALED_BLOCKS]) {
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t lane = row % 8 * 4 + first_number + row / 8, word = words[lane];
        for (uint32_t i = 0; i < EMU_SCALED_BLOCKS; i++) scales[row][i] = (uint8_t)(word >> 8 * i & 255);
        if ((word & 0x80808080u) == 0) continue;
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "the scales 0x%08x have a top bit set, which ue4m3 does not have", word);
        return false;
    }
    return true;
}

// byte-id and thread-id: false, with a finding, unless they are 0 and below `count` in every lane.
static bool read_selector(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t operand,
                          uint32_t count, uint32_t *thread) {
    *thread = EMU_32(operand + 1)[0] & 0xffff;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        uint32_t byte_id = EMU_32(operand)[lane] & 0xffff, thread_id = EMU_32(operand + 1)[lane] & 0xffff;
        if (byte_id == 0 && thread_id == *thread && thread_id < count) continue;
        emu_warp_finding(
            warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
            "the scales' selector is {%u, %u}: with scale_vec::4X it is {0, 0 to %u}, the same in all lanes", byte_id,
            thread_id, count - 1);
        return false;
    }
    return true;
}

EMU_EXECUTE(mma_scaled) {
    struct emu_scaled_step step;
    float sums[EMU_SCALED_ROWS][EMU_SCALED_COLUMNS];
    uint32_t a_thread, b_thread;
    (void)mask;
    if (!read_selector(warp, instruction, A_SELECTOR, 2, &a_thread) ||
        !read_selector(warp, instruction, B_SELECTOR, 4, &b_thread) ||
        !gather_scales(warp, EMU_32(A_SCALES), EMU_SCALED_ROWS, 2 * a_thread, step.a_scales) ||
        !gather_scales(warp, EMU_32(B_SCALES), EMU_SCALED_COLUMNS, b_thread, step.b_scales)) {
        return;
    }
    gather_factors(warp, instruction, &step);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t *words = EMU_32(ADDEND + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++)
            sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = emu_float(words[lane]);
    }
    emu_scaled_multiply(&step, sums, warp->cta->launch->settings->sums);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t *words = EMU_32(RESULT + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++)
            words[lane] = emu_bits_canonical(sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
    }
    warp->cta->run->counters.tensor_ops += 16 * 8 * 64;
    emu_race_warp_sync(warp);
}

// Assemblers take the shape before and after the kind.
#define ROW .instruction_class = EMU_CLASS_TENSOR, .flow = EMU_FLOW_WARP, .arch = 120, .arch_a = true
#define KIND "kind::mxf4nvf4 block_scale scale_vec::4X "
#define OPERANDS "d32*4 s32*4 s32*2 s32*4 s32*1 s16*2 s32*1 s16*2"
static const struct emu_row rows[] = {
    {"mma", "sync aligned m16n8k64 row col " KIND "f32 e2m1 e2m1 f32 ue4m3", OPERANDS, mma_scaled, ROW},
    {"mma", "sync aligned " KIND "m16n8k64 row col f32 e2m1 e2m1 f32 ue4m3", OPERANDS, mma_scaled, ROW},
};
EMU_ROWS(emu_rows_mma_scaled, rows);
