// mma.sync m16n8 with f32 or f16 accumulators (PTX ISA, "mma", matrix fragments). Lane l is in group l / 4 and there
// number l % 4; A's rows and C's rows are groups, B's columns are groups.
#include "arithmetic.h"
#include "arithmetic_tensor.h"
#include "warp.h"

struct shape {
    uint32_t num_k, bits; // of an element
    uint32_t a_registers, b_registers;
    bool half_sums;
};

// Register i of A: rows of the group for even i, eight below for odd ones; k advances by half the step from register 2
// on.
static void gather_a(const struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t first,
                     const struct shape *shape, struct emu_tensor_step *step) {
    uint32_t per_word = 32 / shape->bits, element = (1u << shape->bits) - 1;
    for (uint32_t i = 0; i < shape->a_registers; i++) {
        const uint32_t *words = EMU_32(first + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            uint16_t *row = &step->a[lane / 4 + i % 2 * 8][lane % 4 * per_word + i / 2 * 4 * per_word];
            for (uint32_t at = 0; at < per_word; at++) row[at] = (uint16_t)(words[lane] >> shape->bits * at & element);
        }
    }
}

static void gather_b(const struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t first,
                     const struct shape *shape, uint16_t b[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS]) {
    uint32_t per_word = 32 / shape->bits, element = (1u << shape->bits) - 1;
    for (uint32_t i = 0; i < shape->b_registers; i++) {
        const uint32_t *words = EMU_32(first + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            uint32_t column = lane / 4, k = lane % 4 * per_word + i * 4 * per_word;
            for (uint32_t at = 0; at < per_word; at++) {
                b[k + at][column] = (uint16_t)(words[lane] >> shape->bits * at & element);
            }
        }
    }
}

static void load_sums(const struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t first,
                      bool half_sums, float sums[16][8]) {
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t *words = EMU_32(first + (half_sums ? i / 2 : i));
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            uint32_t word = words[lane];
            sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] =
                half_sums ? emu_f16_value(word >> 16 * (i % 2) & 0xffff) : emu_float(word);
        }
    }
}

static void store_sums(const struct emu_warp *warp, const struct emu_instruction *instruction, bool half_sums,
                       float sums[16][8]) {
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t *words = EMU_32(half_sums ? i / 2 : i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            float value = sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
            if (!half_sums) {
                words[lane] = emu_bits_canonical(value);
            } else if (i % 2 == 0) {
                words[lane] = emu_f16_round(value);
            } else {
                words[lane] |= emu_f16_round(value) << 16;
            }
        }
    }
}

static enum emu_tensor_format format_of(uint8_t type) {
    switch (type) {
    case EMU_F16: return EMU_TENSOR_F16;
    case EMU_BF16: return EMU_TENSOR_BF16;
    case EMU_E4M3: return EMU_TENSOR_E4M3;
    default: return EMU_TENSOR_E5M2;
    }
}

static void multiply(struct emu_warp *warp, const struct emu_instruction *instruction, const struct shape *shape) {
    struct emu_tensor_step step; // large: its factors are filled below
    step.num_k = shape->num_k;
    step.half_sums = shape->half_sums;
    step.a_format = format_of(instruction->form.types[1]);
    step.b_format = format_of(instruction->form.types[2]);
    uint16_t b_codes[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS];
    float sums[EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS];
    uint32_t results = shape->half_sums ? 2 : 4, a = results, b = a + shape->a_registers, c = b + shape->b_registers;
    gather_a(warp, instruction, a, shape, &step);
    gather_b(warp, instruction, b, shape, b_codes);
    load_sums(warp, instruction, c, shape->half_sums, sums);
    emu_tensor_step(&step, b_codes, sums, warp->cta->launch->settings->sums);
    store_sums(warp, instruction, shape->half_sums, sums);
    warp->cta->run->counters.tensor_ops += 16 * 8 * shape->num_k;
    emu_race_warp_sync(warp);
}

static bool half_sums(const struct emu_instruction *instruction) {
    return instruction->form.types[0] == EMU_F16;
}

EMU_EXECUTE(mma_k8) {
    struct shape shape = {8, 16, 2, 1, half_sums(instruction)};
    (void)mask;
    multiply(warp, instruction, &shape);
}

EMU_EXECUTE(mma_k16) {
    struct shape shape = {16, 16, 4, 2, half_sums(instruction)};
    (void)mask;
    multiply(warp, instruction, &shape);
}

#define ROW .instruction_class = EMU_CLASS_TENSOR, .flow = EMU_FLOW_WARP
static const struct emu_row rows[] = {
    {"mma", "sync aligned m16n8k16 row col f32 bf16 bf16 f32", "d32*4 s32*4 s32*2 s32*4", mma_k16, ROW},
    {"mma", "sync aligned m16n8k16 row col f32 f16 f16 f32", "d32*4 s32*4 s32*2 s32*4", mma_k16, ROW},
    {"mma", "sync aligned m16n8k16 row col f16 f16 f16 f16", "d32*2 s32*4 s32*2 s32*2", mma_k16, ROW},
    {"mma", "sync aligned m16n8k8 row col f32 bf16 bf16 f32", "d32*4 s32*2 s32*1 s32*4", mma_k8, ROW},
    {"mma", "sync aligned m16n8k8 row col f32 f16 f16 f32", "d32*4 s32*2 s32*1 s32*4", mma_k8, ROW},
    {"mma", "sync aligned m16n8k8 row col f16 f16 f16 f16", "d32*2 s32*2 s32*1 s32*2", mma_k8, ROW},
};
EMU_ROWS(emu_rows_mma, rows);
