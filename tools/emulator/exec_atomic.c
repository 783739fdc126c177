// atom and red (PTX ISA, "Parallel Synchronization and Communication Instructions"). Global memory may be shared with
// other host threads, so every update is a compare-and-swap of the host.
#include <math.h>

#include "arithmetic.h"
#include "ptx_form.h"
#include "exec_types.h"

struct update {
    enum emu_word operation;
    enum emu_type type;
    uint64_t b, c;
};

static uint64_t update_unsigned(const struct update *update, uint64_t old, uint64_t b) {
    switch (update->operation) {
    case EMU_W_ADD: return old + b;
    case EMU_W_MIN: return old < b ? old : b;
    case EMU_W_MAX: return old > b ? old : b;
    case EMU_W_AND: return old & b;
    case EMU_W_OR: return old | b;
    case EMU_W_XOR: return old ^ b;
    case EMU_W_INC: return old >= b ? 0 : old + 1;
    case EMU_W_DEC: return old == 0 || old > b ? b : old - 1;
    case EMU_W_CAS: return old == b ? update->c : old;
    default: return b; // exch
    }
}

static uint64_t update_signed(const struct update *update, int64_t old, int64_t b) {
    if (update->operation == EMU_W_MIN) return (uint64_t)(old < b ? old : b);
    if (update->operation == EMU_W_MAX) return (uint64_t)(old > b ? old : b);
    return update_unsigned(update, (uint64_t)old, (uint64_t)b);
}

// Additions of halves round once; min and max of them take the number where one is NaN.
static uint32_t update_half(const struct update *update, uint32_t old, uint32_t b, bool is_bf16) {
    const struct emu_format *format = is_bf16 ? &emu_format_bf16 : &emu_format_f16;
    if (update->operation == EMU_W_ADD) return emu_fma_half(format, old, is_bf16 ? 0x3f80 : 0x3c00, b);
    float x = is_bf16 ? emu_bf16_value(old) : emu_f16_value(old), y = is_bf16 ? emu_bf16_value(b) : emu_f16_value(b);
    if (x != x) return b;
    if (y != y) return old;
    return (x < y) == (update->operation == EMU_W_MIN) ? old : b;
}

static uint64_t updated(const struct update *update, uint64_t old) {
    uint64_t b = update->b;
    bool is_bf16 = update->type == EMU_BF16 || update->type == EMU_BF16X2;
    switch (update->type) {
    case EMU_S32: return (uint32_t)update_signed(update, (int32_t)old, (int32_t)b);
    case EMU_S64: return update_signed(update, (int64_t)old, (int64_t)b);
    case EMU_U64:
    case EMU_B64: return update_unsigned(update, old, b);
    case EMU_B16: return (uint16_t)update_unsigned(update, old, b & 0xffff);
    case EMU_F32: // subnormals are flushed in memory atomics on no current part; .ftz is not asked for
        return emu_bits_canonical(emu_float((uint32_t)old) + emu_float((uint32_t)b));
    case EMU_F64: return emu_double_bits(emu_double(old) + emu_double(b));
    case EMU_F16:
    case EMU_BF16: return update_half(update, (uint32_t)old & 0xffff, (uint32_t)b & 0xffff, is_bf16);
    case EMU_F16X2:
    case EMU_BF16X2:
        return update_half(update, (uint32_t)old & 0xffff, (uint32_t)b & 0xffff, is_bf16) |
               update_half(update, (uint32_t)old >> 16, (uint32_t)b >> 16 & 0xffff, is_bf16) << 16;
    default: return (uint32_t)update_unsigned(update, (uint32_t)old, (uint32_t)b);
    }
}

#define APPLY(name, type)                                                                                              \
    static uint64_t apply_##name(uint8_t *pointer, const struct update *update) {                                      \
        type *at = (type *)(void *)pointer, old = __atomic_load_n(at, __ATOMIC_RELAXED);                               \
        while (!__atomic_compare_exchange_n(at, &old, (type)updated(update, old), false, __ATOMIC_ACQ_REL,             \
                                            __ATOMIC_RELAXED)) {                                                       \
        }                                                                                                              \
        return old;                                                                                                    \
    }
APPLY(16, uint16_t)
APPLY(32, uint32_t)
APPLY(64, uint64_t)

static uint64_t apply(uint8_t *pointer, const struct update *update, uint32_t bytes) {
    return bytes == 8 ? apply_64(pointer, update) : bytes == 4 ? apply_32(pointer, update) : apply_16(pointer, update);
}

void emu_atomic_reduce(uint8_t *to, const uint8_t *from, uint32_t bytes, enum emu_word operation, enum emu_type type) {
    uint32_t step = emu_type_bits(type) / 8;
    for (uint32_t at = 0; at < bytes; at += step) {
        struct update update = {operation, type, 0, 0};
        memcpy(&update.b, from + at, step);
        apply(to + at, &update, step);
    }
}

static uint64_t lane_value(const struct emu_warp *warp, uint32_t operand, uint32_t lane, uint32_t bytes) {
    return bytes == 8 ? ((const uint64_t *)emu_lanes(warp, operand))[lane]
                      : ((const uint32_t *)emu_lanes(warp, operand))[lane];
}

// Operands: count results (of atom), the address, count values, and for cas the values to be stored.
static void run(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask, bool has_result) {
    struct emu_access access;
    uint32_t count = instruction->form.count, bytes = instruction->element_bytes, address = has_result ? count : 0;
    bool is_cas = EMU_WORD_OF(OPERATION) == EMU_W_CAS;
    if (EMU_FLAG(RELEASE) || EMU_FLAG(ACQ_REL)) emu_race_fence(warp);
    emu_access_addresses(warp, instruction, mask, address, 0, &access);
    if (!emu_access_check(warp, mask, (enum emu_space)instruction->space, bytes * count, bytes * count,
                          EMU_ACCESS_ATOMIC, &access)) {
        return;
    }
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        for (uint32_t i = 0; i < count; i++) {
            struct update update = {EMU_WORD_OF(OPERATION), (enum emu_type)instruction->form.types[0], 0, 0};
            update.b = lane_value(warp, instruction->operands[address + 1 + i], lane, bytes);
            if (bytes == 2) update.b &= 0xffff;
            if (is_cas) update.c = lane_value(warp, instruction->operands[address + 2], lane, bytes);
            uint64_t old = apply(access.pointers[lane] + i * bytes, &update, bytes);
            if (!has_result) continue;
            if (bytes == 8) {
                EMU_64(i)[lane] = old;
            } else {
                EMU_32(i)[lane] = (uint32_t)old;
            }
        }
    }
    warp->cta->run->counters.atomics += (uint64_t)__builtin_popcount(mask);
    warp->cta->run->progress++;
    if (EMU_FLAG(ACQUIRE) || EMU_FLAG(ACQ_REL)) emu_race_fence(warp);
}

EMU_EXECUTE(atom) {
    run(warp, instruction, mask, true);
}

EMU_EXECUTE(red) {
    run(warp, instruction, mask, false);
}

#define ROW .instruction_class = EMU_CLASS_MEMORY
#define ORDER "?relaxed|acquire|release|acq_rel ?cta|cluster|gpu|sys ?global|shared|shared::cta|shared::cluster"
#define RED_ORDER "?relaxed|release ?cta|cluster|gpu|sys ?global|shared|shared::cta|shared::cluster"
#define BOTH(name, order, atom_operands, execute, ...)                                                                 \
    {name, order " and|or|xor ?L2::cache_hint b32|b64", atom_operands, execute, __VA_ARGS__},                          \
        {name, order " add ?L2::cache_hint u32|s32|u64|f32|f64", atom_operands, execute, __VA_ARGS__},                 \
        {name, order " add noftz ?L2::cache_hint f16|f16x2", atom_operands, execute, __VA_ARGS__},                     \
        {name, order " add noftz ?L2::cache_hint bf16|bf16x2", atom_operands, execute, __VA_ARGS__, .arch = 90},       \
        {name, order " inc|dec ?L2::cache_hint u32", atom_operands, execute, __VA_ARGS__},                             \
        {name, order " min|max ?L2::cache_hint u32|s32|u64|s64", atom_operands, execute, __VA_ARGS__},                 \
        {name, order " add ?L2::cache_hint v2|v4 f32", atom_operands, execute, __VA_ARGS__, .arch = 90},               \
        {name,      order " add|min|max noftz ?L2::cache_hint v2|v4|v8 f16|bf16", atom_operands, execute, __VA_ARGS__, \
         .arch = 90},                                                                                                  \
    {                                                                                                                  \
        name, order " add|min|max noftz ?L2::cache_hint v2|v4 f16x2|bf16x2", atom_operands, execute, __VA_ARGS__,      \
            .arch = 90                                                                                                 \
    }
static const struct emu_row rows[] = {
    BOTH("atom", ORDER, "d0*v a s0*v s64?", atom, ROW),
    BOTH("red", RED_ORDER, "a s0*v s64?", red, ROW),
    {"atom", ORDER " exch ?L2::cache_hint b32|b64", "d0 a s0 s64?", atom, ROW},
    {"atom", ORDER " cas ?L2::cache_hint b16|b32|b64", "d0 a s0 s0 s64?", atom, ROW},
};
EMU_ROWS(emu_rows_atomic, rows);
