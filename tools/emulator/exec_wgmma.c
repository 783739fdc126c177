// wgmma.mma_async with f32 sums of bf16 or f16 factors, or f16 sums (PTX ISA, "Asynchronous Warpgroup Level Matrix
// Instructions").
// Each warp of the four computes its 16 rows when it comes here: B and A are read from shared memory by whoever asks,
// and what must not have changed by then is checked in exec_wgmma_order.c.
#include "exec_wgmma.h"

#include "arithmetic.h"
#include "arithmetic_tensor.h"

#define MAX_TILES 32 // of eight columns

struct call {
    const struct emu_instruction *instruction;
    uint32_t num_tiles, descriptor; // descriptor: operand of B's
    bool a_in_registers, half_sums; // half_sums: two to a register
    struct emu_matrix a, b;
};

// The number of an address's 128 bytes, counted from where the pattern begins: `base` times 128 bytes after a multiple
// of 1024. The PTX ISA says how base is found, not what becomes of addresses; an H100 did (docs/emulator.md).
static uint32_t swizzled(uint32_t address, const struct emu_matrix *matrix) {
    return address ^ ((address - (matrix->base << 7)) >> 3 & (matrix->atom_bytes - 1) & ~15u);
}

uint32_t emu_matrix_chunk(const struct emu_matrix *matrix, uint32_t chunk) {
    uint32_t atom = matrix->atom_bytes, per_atom = atom / EMU_CHUNK_BYTES, address = matrix->start;
    bool plain = atom == EMU_CHUNK_BYTES;
    if (matrix->transposed) {
        uint32_t eight = matrix->first / 8 + chunk / EMU_WGMMA_K, k = chunk % EMU_WGMMA_K;
        address += eight % per_atom * EMU_CHUNK_BYTES + eight / per_atom * (plain ? matrix->stride : matrix->leading);
        address += k % 8 * atom + k / 8 * (plain ? matrix->leading : matrix->stride);
    } else {
        uint32_t row = matrix->first + chunk / 2, half = chunk % 2;
        address += row / 8 * matrix->stride + row % 8 * atom + half * (plain ? matrix->leading : EMU_CHUNK_BYTES);
    }
    return swizzled(address, matrix);
}

// A descriptor and the transposition operand; all lanes must agree.
static bool decode(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t descriptor,
                   uint32_t transposition, struct emu_matrix *matrix) {
    static const uint32_t atoms[] = {16, 128, 64, 32};
    const uint64_t *lanes = EMU_64(descriptor);
    uint64_t code = lanes[0];
    for (uint32_t lane = 1; lane < EMU_LANES; lane++) {
        if (lanes[lane] == code) continue;
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "the matrix descriptor differs between lanes: 0x%llx and 0x%llx", (unsigned long long)code,
                         (unsigned long long)lanes[lane]);
        return false;
    }
    *matrix = (struct emu_matrix){.start = (uint32_t)(code & 0x3fff) << 4,
                                  .leading = (uint32_t)(code >> 16 & 0x3fff) << 4,
                                  .stride = (uint32_t)(code >> 32 & 0x3fff) << 4,
                                  .atom_bytes = atoms[code >> 62],
                                  .base = (uint32_t)(code >> 49) & 7,
                                  .transposed = EMU_32(transposition)[0] != 0};
    return true;
}

// Chunk by chunk into `codes`, eight at a time.
static bool read_matrix(struct emu_warp *warp, const struct emu_matrix *matrix, uint16_t (*codes)[8]) {
    for (uint32_t chunk = 0; chunk < 2 * matrix->count; chunk++) {
        const uint8_t *from = emu_shared_check_async(warp, 0, emu_matrix_chunk(matrix, chunk), EMU_CHUNK_BYTES,
                                                     EMU_CHUNK_BYTES, "wgmma.mma_async");
        if (from == NULL) return false;
        memcpy(codes[chunk], from, EMU_CHUNK_BYTES);
    }
    return emu_wgmma_reads(warp, matrix);
}

static bool read_b(struct emu_warp *warp, const struct call *call, uint16_t b[][EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS]) {
    uint16_t codes[2 * MAX_TILES * EMU_TENSOR_COLUMNS][8];
    if (!read_matrix(warp, &call->b, codes)) return false;
    for (uint32_t tile = 0; tile < call->num_tiles; tile++) {
        if (call->b.transposed) {
            memcpy(b[tile], codes[EMU_WGMMA_K * tile], EMU_WGMMA_K * EMU_CHUNK_BYTES);
            continue;
        }
        for (uint32_t k = 0; k < EMU_WGMMA_K; k++) {
            for (uint32_t column = 0; column < 8; column++)
                b[tile][k][column] = codes[2 * (8 * tile + column) + k / 8][k % 8];
        }
    }
    return true;
}

static bool read_a(struct emu_warp *warp, const struct call *call, struct emu_tensor_step *step) {
    uint16_t codes[2 * EMU_TENSOR_ROWS][8];
    if (!read_matrix(warp, &call->a, codes)) return false;
    for (uint32_t row = 0; row < EMU_TENSOR_ROWS; row++) {
        for (uint32_t k = 0; k < EMU_WGMMA_K; k++) {
            step->a[row][k] =
                call->a.transposed ? codes[row / 8 * EMU_WGMMA_K + k][row % 8] : codes[2 * row + k / 8][k % 8];
        }
    }
    return true;
}

// Fragments as mma.m16n8k16 has them.
static void gather_a(const struct emu_warp *warp, const struct call *call, struct emu_tensor_step *step) {
    const struct emu_instruction *instruction = call->instruction;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t *words = EMU_32(call->descriptor - 4 + i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            uint16_t *row = &step->a[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8];
            row[0] = (uint16_t)words[lane];
            row[1] = (uint16_t)(words[lane] >> 16);
        }
    }
}

static void load_sums(const struct emu_warp *warp, const struct call *call,
                      float sums[][EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS]) {
    const struct emu_instruction *instruction = call->instruction;
    for (uint32_t i = 0; i < 4 * call->num_tiles; i++) {
        const uint32_t *words = EMU_32(call->half_sums ? i / 2 : i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            sums[i / 4][lane / 4 + i / 2 % 2 * 8][lane % 4 * 2 + i % 2] =
                call->half_sums ? emu_f16_value(words[lane] >> 16 * (i % 2) & 0xffff) : emu_float(words[lane]);
        }
    }
}

static void store_sums(const struct emu_warp *warp, const struct call *call,
                       float sums[][EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS]) {
    const struct emu_instruction *instruction = call->instruction;
    for (uint32_t i = 0; i < 4 * call->num_tiles; i++) {
        uint32_t *words = EMU_32(call->half_sums ? i / 2 : i);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            float value = sums[i / 4][lane / 4 + i / 2 % 2 * 8][lane % 4 * 2 + i % 2];
            if (!call->half_sums) {
                words[lane] = emu_bits_canonical(value);
            } else {
                uint32_t half = emu_f16_round(value) & 0xffff, other = i % 2 == 0 ? 0xffff0000u : 0xffffu;
                words[lane] = (words[lane] & other) | half << 16 * (i % 2);
            }
        }
    }
}

static void negate(uint16_t *codes, size_t count) {
    for (size_t i = 0; i < count; i++) codes[i] ^= 0x8000;
}

static bool is_negative(const struct emu_warp *warp, const struct call *call, uint32_t which) {
    return *(const int32_t *)emu_lanes(warp, call->instruction->operands[call->descriptor + 2 + which]) < 0;
}

// Operands after B's descriptor: scale-d, imm-scale-a, imm-scale-b, imm-trans-a where A has a descriptor, imm-trans-b.
static bool check_call(struct emu_warp *warp, const struct call *call) {
    const struct emu_instruction *instruction = call->instruction;
    uint32_t first = warp->index / 4 * 4;
    if (first + 4 > warp->cta->num_warps) {
        emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                         "wgmma.mma_async in a warpgroup that has %u warps: it takes all of four",
                         warp->cta->num_warps - first);
        return false;
    }
    for (uint32_t i = call->descriptor + 2; i < instruction->num_operands; i++) {
        int32_t value = *(const int32_t *)emu_lanes(warp, instruction->operands[i]);
        bool is_scale = i < call->descriptor + 4;
        if (is_scale ? value == 1 || value == -1 : value == 0 || value == 1) continue;
        emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED, "%s is %d: it must be %s",
                         is_scale ? "a factor's scale" : "a factor's transposition", value,
                         is_scale ? "1 or -1" : "0 or 1");
        return false;
    }
    uint32_t scale = EMU_PREDICATE(call->descriptor + 1);
    if (scale == 0 || scale == EMU_FULL_MASK || warp->alive != EMU_FULL_MASK) return true;
    emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED, "scale-d differs between lanes: 0x%08x", scale);
    return false;
}

static bool read_factors(struct emu_warp *warp, struct call *call, struct emu_tensor_step *step,
                         uint16_t b[][EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS]) {
    const struct emu_instruction *instruction = call->instruction;
    if (!decode(warp, instruction, call->descriptor, instruction->num_operands - 1u, &call->b)) return false;
    call->b.count = call->num_tiles * EMU_TENSOR_COLUMNS;
    if (call->a_in_registers) {
        gather_a(warp, call, step);
    } else {
        if (!decode(warp, instruction, call->descriptor - 1, instruction->num_operands - 2u, &call->a)) return false;
        call->a.first = warp->index % 4 * EMU_TENSOR_ROWS;
        call->a.count = EMU_TENSOR_ROWS;
        if (!read_a(warp, call, step)) return false;
    }
    if (!read_b(warp, call, b)) return false;
    for (uint32_t row = 0; row < EMU_TENSOR_ROWS && is_negative(warp, call, 0); row++) {
        negate(step->a[row], EMU_WGMMA_K);
    }
    if (is_negative(warp, call, 1)) negate((uint16_t *)b, call->num_tiles * sizeof(b[0]) / sizeof(uint16_t));
    return true;
}

static void multiply(struct emu_warp *warp, const struct emu_instruction *instruction, bool a_in_registers) {
    bool half_sums = instruction->form.types[0] == EMU_F16;
    uint32_t num_tiles = instruction->form.columns / 8u, accumulators = (half_sums ? 2 : 4) * num_tiles;
    enum emu_tensor_format format = instruction->form.types[1] == EMU_F16 ? EMU_TENSOR_F16 : EMU_TENSOR_BF16;
    struct call call = {.instruction = instruction,
                        .num_tiles = num_tiles,
                        .descriptor = accumulators + (a_in_registers ? 4 : 1),
                        .a_in_registers = a_in_registers,
                        .half_sums = half_sums};
    struct emu_wgmma_registers registers = {instruction->operands, instruction->operands + accumulators, accumulators,
                                            a_in_registers ? 4 : 0};
    struct emu_tensor_step step; // large: its factors are filled below
    step.num_k = EMU_WGMMA_K;
    step.half_sums = half_sums;
    step.a_format = step.b_format = format;
    uint16_t b[MAX_TILES][EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS];
    float sums[MAX_TILES][EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS];
    if (!check_call(warp, &call) || !emu_wgmma_issue(warp, &registers) || !read_factors(warp, &call, &step, b)) return;
    uint32_t scale = EMU_PREDICATE(call.descriptor + 1);
    if ((instruction->negated != 0 ? ~scale : scale) & warp->alive) {
        load_sums(warp, &call, sums);
    } else {
        memset(sums, 0, num_tiles * sizeof(sums[0]));
    }
    emu_tensor_tiles(&step, num_tiles, (const uint16_t(*)[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS])b, sums,
                     warp->cta->launch->settings->sums);
    store_sums(warp, &call, sums);
    warp->cta->run->counters.tensor_ops += 16 * (uint64_t)instruction->form.columns * EMU_WGMMA_K;
}

EMU_EXECUTE(multiply_registers) {
    (void)mask;
    multiply(warp, instruction, true);
}

EMU_EXECUTE(multiply_shared) {
    (void)mask;
    multiply(warp, instruction, false);
}

EMU_EXECUTE(fence) {
    (void)instruction, (void)mask;
    emu_wgmma_fence(warp);
}

EMU_EXECUTE(commit) {
    (void)instruction, (void)mask;
    emu_wgmma_commit(warp);
}

EMU_EXECUTE(wait) {
    (void)mask;
    emu_wgmma_wait(warp, EMU_32(0)[0]);
}

#define ROW .instruction_class = EMU_CLASS_TENSOR, .flow = EMU_FLOW_WARP, .arch = 90, .arch_a = true
#define SHAPES                                                                                                         \
    "m64n8k16|m64n16k16|m64n24k16|m64n32k16|m64n40k16|m64n48k16|m64n56k16|m64n64k16|m64n72k16|m64n80k16|m64n88k16|"    \
    "m64n96k16|m64n104k16|m64n112k16|m64n120k16|m64n128k16|m64n136k16|m64n144k16|m64n152k16|m64n160k16|m64n168k16|"    \
    "m64n176k16|m64n184k16|m64n192k16|m64n200k16|m64n208k16|m64n216k16|m64n224k16|m64n232k16|m64n240k16|m64n248k16|"   \
    "m64n256k16"
#define ASYNC "mma_async sync aligned " SHAPES " "
static const struct emu_row rows[] = {
    {"wgmma", "fence sync aligned", "", fence, ROW},
    {"wgmma", "commit_group sync aligned", "", commit, ROW},
    {"wgmma", "wait_group sync aligned", "i32", wait, ROW},
    {"wgmma", ASYNC "f32 bf16 bf16", "m32*n s32*4 s64 sp i32 i32 i32", multiply_registers, ROW},
    {"wgmma", ASYNC "f32 f16 f16", "m32*n s32*4 s64 sp i32 i32 i32", multiply_registers, ROW},
    {"wgmma", ASYNC "f16 f16 f16", "m32*h s32*4 s64 sp i32 i32 i32", multiply_registers, ROW},
    {"wgmma", ASYNC "f32 bf16 bf16", "m32*n s64 s64 sp i32 i32 i32 i32", multiply_shared, ROW},
    {"wgmma", ASYNC "f32 f16 f16", "m32*n s64 s64 sp i32 i32 i32 i32", multiply_shared, ROW},
    {"wgmma", ASYNC "f16 f16 f16", "m32*h s64 s64 sp i32 i32 i32 i32", multiply_shared, ROW},
};
EMU_ROWS(emu_rows_wgmma, rows);
