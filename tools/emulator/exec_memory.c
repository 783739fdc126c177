// ld, st, and hints that change no value (PTX ISA, "Data Movement and Conversion Instructions").
#include "warp.h"

static bool is_signed(const struct emu_instruction *instruction) {
    enum emu_type type = (enum emu_type)instruction->form.types[0];
    return type == EMU_S8 || type == EMU_S16 || type == EMU_S32 || type == EMU_S64;
}

// Accesses that other threads may make at the same time without a race.
static bool is_strong(const struct emu_instruction *instruction) {
    return EMU_FLAG(VOLATILE) || EMU_FLAG(RELAXED) || EMU_FLAG(ACQUIRE) || EMU_FLAG(RELEASE);
}

// Little-endian, 1 to 8 bytes. Widths that are known when this is compiled: through the stack a byte takes ten times as
// long.
static uint64_t element_at(const uint8_t *at, uint32_t bytes) {
    uint16_t two;
    uint32_t four;
    uint64_t value = 0;
    switch (bytes) {
    case 1: return *at;
    case 2: return memcpy(&two, at, 2), two;
    case 4: return memcpy(&four, at, 4), four;
    default: return memcpy(&value, at, 8), value;
    }
}

// An element of any width to a register that is as wide or wider.
static void load_element(struct emu_warp *warp, uint32_t mask, uint32_t operand, uint32_t bytes,
                         uint32_t register_bytes, bool sign, uint8_t *const *pointers, uint32_t offset) {
    uint32_t drop = 64 - 8 * bytes;
    uint64_t keep = register_bytes >= 8 ? ~(uint64_t)0 : ((uint64_t)1 << 8 * register_bytes) - 1;
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        uint64_t value = element_at(pointers[lane] + offset, bytes);
        if (sign) value = (uint64_t)((int64_t)(value << drop) >> drop);
        if (register_bytes == 8) {
            ((uint64_t *)emu_lanes(warp, operand))[lane] = value;
        } else {
            ((uint32_t *)emu_lanes(warp, operand))[lane] = (uint32_t)(value & keep);
        }
    }
}

static void load_32(struct emu_warp *warp, uint32_t mask, uint32_t operand, uint8_t *const *pointers, uint32_t offset) {
    uint32_t *d = emu_lanes(warp, operand);
    EMU_EACH_LANE({ memcpy(&d[lane], pointers[lane] + offset, 4); });
}

static void load_64(struct emu_warp *warp, uint32_t mask, uint32_t operand, uint8_t *const *pointers, uint32_t offset) {
    uint64_t *d = emu_lanes(warp, operand);
    EMU_EACH_LANE({ memcpy(&d[lane], pointers[lane] + offset, 8); });
}

static void load_128(struct emu_warp *warp, uint32_t mask, uint32_t operand, uint8_t *const *pointers,
                     uint32_t offset) {
    uint8_t *d = emu_lanes(warp, operand);
    EMU_EACH_LANE({ memcpy(d + 16 * lane, pointers[lane] + offset, 16); });
}

EMU_EXECUTE(load) {
    struct emu_access access;
    uint32_t count = instruction->form.count, bytes = instruction->element_bytes, width = instruction->register_bytes;
    // Parameters are laid out by the host's rules: a vector of them may have less alignment than it has bytes.
    uint32_t alignment = instruction->space == EMU_SPACE_PARAM ? 1 : bytes * count;
    emu_access_addresses(warp, instruction, mask, count, 0, &access);
    warp->strong = is_strong(instruction);
    bool good = emu_access_check(warp, mask, (enum emu_space)instruction->space, bytes * count, alignment,
                                 EMU_ACCESS_READ, &access);
    warp->strong = false;
    if (!good) return;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t operand = instruction->operands[i];
        if (bytes == 4 && width == 4) {
            load_32(warp, mask, operand, access.pointers, 4 * i);
        } else if (bytes == 8) {
            load_64(warp, mask, operand, access.pointers, 8 * i);
        } else if (bytes == 16) {
            load_128(warp, mask, operand, access.pointers, 16 * i);
        } else {
            load_element(warp, mask, operand, bytes, width, is_signed(instruction), access.pointers, bytes * i);
        }
    }
    if (EMU_FLAG(ACQUIRE)) emu_race_fence(warp);
}

EMU_EXECUTE(store) {
    struct emu_access access;
    uint32_t count = instruction->form.count, bytes = instruction->element_bytes;
    if (EMU_FLAG(RELEASE)) emu_race_fence(warp);
    emu_access_addresses(warp, instruction, mask, 0, 0, &access);
    warp->strong = is_strong(instruction);
    bool good = emu_access_check(warp, mask, (enum emu_space)instruction->space, bytes * count, bytes * count,
                                 EMU_ACCESS_WRITE, &access);
    warp->strong = false;
    if (!good) return;
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *from = emu_lanes(warp, instruction->operands[1 + i]);
            uint32_t step = instruction->source_bytes <= 4 ? 4 : instruction->source_bytes;
            memcpy(access.pointers[lane] + i * bytes, from + lane * step, bytes);
        }
    }
    warp->cta->run->progress++;
}

EMU_EXECUTE(nothing) {
    (void)warp, (void)instruction, (void)mask;
}

EMU_EXECUTE(policy) { // createpolicy: some 64-bit number that only cache hints take
    uint64_t *d = EMU_64(0);
    EMU_EACH_LANE({ d[lane] = 0x12f0000000000000u; });
}

#define ROW .instruction_class = EMU_CLASS_MEMORY
#define TYPES "b8|u8|s8|b16|u16|s16|b32|u32|s32|f32|b64|u64|s64|f64|b128"
#define SPACES "?global|local|param|param::entry|param::func|shared|shared::cta|shared::cluster|const"
#define HINTS                                                                                                          \
    "?ca|cg|cs|lu|cv|wb|wt ?L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate "      \
    "?L2::evict_normal|L2::evict_first|L2::evict_last ?L2::cache_hint ?L2::64B|L2::128B|L2::256B"
static const struct emu_row rows[] = {
    {"ld", "?weak " SPACES " " HINTS " ?v2|v4|v8 " TYPES, "d0+*v a s64?", load, ROW},
    {"ld", "volatile " SPACES " ?L2::64B|L2::128B|L2::256B ?v2|v4 " TYPES, "d0+*v a", load, ROW},
    {"ld", "relaxed|acquire cta|cluster|gpu|sys " SPACES " " HINTS " ?v2|v4|v8 " TYPES, "d0+*v a s64?", load, ROW},
    {"ld", "global ?ca|cg|cs nc " HINTS " ?v2|v4|v8 " TYPES, "d0+*v a s64?", load, ROW},
    {"ldu", "global ?v2|v4 " TYPES, "d0+*v a", load, ROW},
    {"st", "?weak " SPACES " " HINTS " ?v2|v4|v8 " TYPES, "a s0+*v s64?", store, ROW},
    {"st", "volatile " SPACES " ?v2|v4 " TYPES, "a s0+*v", store, ROW},
    {"st", "relaxed|release cta|cluster|gpu|sys " SPACES " " HINTS " ?v2|v4|v8 " TYPES, "a s0+*v s64?", store, ROW},
    {"prefetch", "?global|local L1|L2", "a", nothing, ROW},
    {"prefetch", "global L2::evict_last|L2::evict_normal", "a", nothing, ROW},
    {"prefetch", "?const|param tensormap", "a", nothing, ROW, .arch = 90},
    {"prefetchu", "L1", "a", nothing, ROW},
    {"discard", "?global L2", "a i32", nothing, ROW},
    {"applypriority", "?global L2::evict_normal", "a i32", nothing, ROW},
    {"createpolicy", "fractional L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged b64", "d64 s32?",
     policy, ROW},
    {"createpolicy",
     "fractional L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged "
     "L2::evict_first|L2::evict_unchanged b64",
     "d64 s32?", policy, ROW},
    {"createpolicy", "range L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged b64", "d64 a s32 s32",
     policy, ROW},
};
EMU_ROWS(emu_rows_memory, rows);
