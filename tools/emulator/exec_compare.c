// setp, set, selp, slct (PTX ISA, "Comparison and Selection Instructions").
#include "arithmetic.h"
#include "exec_types.h"

// The three relations of two numbers, as masks of lanes; where none holds they are unordered.
struct relation {
    uint32_t less, equal, greater;
};

// Of 32 flags, 0 or 1, a mask: the product brings the flags of eight bytes together in the highest one.
static uint32_t packed(const uint8_t *flags) {
    uint32_t mask = 0;
    for (uint32_t i = 0; i < EMU_LANES; i += 8) {
        uint64_t eight;
        memcpy(&eight, flags + i, 8);
        mask |= (uint32_t)(eight * 0x0102040810204080u >> 56) << i;
    }
    return mask;
}

#define RELATE(name, lane_type, ...)                                                                                   \
    static struct relation relate_##name(const struct emu_warp *warp, const struct emu_instruction *instruction,       \
                                         uint32_t first) {                                                             \
        const lane_type *as = emu_lanes(warp, instruction->operands[first]);                                           \
        const lane_type *bs = emu_lanes(warp, instruction->operands[first + 1]);                                       \
        uint8_t less[EMU_LANES], equal[EMU_LANES], greater[EMU_LANES];                                                 \
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {                                                            \
            __VA_ARGS__                                                                                                \
            less[lane] = a < b;                                                                                        \
            equal[lane] = a == b;                                                                                      \
            greater[lane] = a > b;                                                                                     \
        }                                                                                                              \
        return (struct relation){packed(less), packed(equal), packed(greater)};                                        \
    }
RELATE(u16, uint32_t, uint16_t a = (uint16_t)as[lane]; uint16_t b = (uint16_t)bs[lane];)
RELATE(s16, uint32_t, int16_t a = (int16_t)as[lane]; int16_t b = (int16_t)bs[lane];)
RELATE(u32, uint32_t, uint32_t a = as[lane]; uint32_t b = bs[lane];)
RELATE(s32, uint32_t, int32_t a = (int32_t)as[lane]; int32_t b = (int32_t)bs[lane];)
RELATE(u64, uint64_t, uint64_t a = as[lane]; uint64_t b = bs[lane];)
RELATE(s64, uint64_t, int64_t a = (int64_t)as[lane]; int64_t b = (int64_t)bs[lane];)
RELATE(f16, uint32_t, float a = emu_f16_value(as[lane] & 0xffff); float b = emu_f16_value(bs[lane] & 0xffff);)
RELATE(bf16, uint32_t, float a = emu_bf16_value(as[lane] & 0xffff); float b = emu_bf16_value(bs[lane] & 0xffff);)
RELATE(f32, uint32_t, float a = emu_float(as[lane]); float b = emu_float(bs[lane]);)
RELATE(f32_ftz, uint32_t, float a = emu_flush(emu_float(as[lane])); float b = emu_flush(emu_float(bs[lane]));)
RELATE(f64, uint64_t, double a = emu_double(as[lane]); double b = emu_double(bs[lane]);)

// The lanes where the comparison holds. Ordered ones are false for NaN, those that end in u true.
static uint32_t holds(enum emu_word compare, enum emu_word part, struct relation r) {
    uint32_t unordered = ~(r.less | r.equal | r.greater);
    if (part == EMU_W_LO) return r.less;
    if (part == EMU_W_HI) return r.greater;
    switch (compare) {
    case EMU_W_EQ: return r.equal;
    case EMU_W_NE: return r.less | r.greater;
    case EMU_W_LT: return r.less;
    case EMU_W_LE:
    case EMU_W_LS: return r.less | r.equal;
    case EMU_W_GT: return r.greater;
    case EMU_W_GE:
    case EMU_W_HS: return r.greater | r.equal;
    case EMU_W_EQU: return r.equal | unordered;
    case EMU_W_NEU: return ~r.equal;
    case EMU_W_LTU: return r.less | unordered;
    case EMU_W_LEU: return ~r.greater;
    case EMU_W_GTU: return r.greater | unordered;
    case EMU_W_GEU: return ~r.less;
    case EMU_W_NUM: return ~unordered;
    default: return unordered;
    }
}

static uint32_t compare(const struct emu_warp *warp, const struct emu_instruction *instruction, enum emu_type type,
                        uint32_t first) {
    struct relation relation;
    switch (type) {
    case EMU_U16:
    case EMU_B16: relation = relate_u16(warp, instruction, first); break;
    case EMU_S16: relation = relate_s16(warp, instruction, first); break;
    case EMU_U32:
    case EMU_B32: relation = relate_u32(warp, instruction, first); break;
    case EMU_S32: relation = relate_s32(warp, instruction, first); break;
    case EMU_U64:
    case EMU_B64: relation = relate_u64(warp, instruction, first); break;
    case EMU_S64: relation = relate_s64(warp, instruction, first); break;
    case EMU_F16: relation = relate_f16(warp, instruction, first); break;
    case EMU_BF16: relation = relate_bf16(warp, instruction, first); break;
    case EMU_F64: relation = relate_f64(warp, instruction, first); break;
    default:
        relation = EMU_FLAG(FTZ) ? relate_f32_ftz(warp, instruction, first) : relate_f32(warp, instruction, first);
        break;
    }
    return holds(EMU_WORD_OF(COMPARE), EMU_WORD_OF(PART), relation);
}

static uint32_t combine(enum emu_word operation, uint32_t a, uint32_t b) {
    return operation == EMU_W_AND ? a & b : operation == EMU_W_OR ? a | b : operation == EMU_W_XOR ? a ^ b : a;
}

// setp p|q, a, b, c: p = (a op b) with c, q = !(a op b) with c.
EMU_EXECUTE(setp) {
    uint32_t result = compare(warp, instruction, (enum emu_type)instruction->form.types[0], 2), other = ~result;
    if (instruction->num_operands > 4 && EMU_HAS(4)) {
        uint32_t c = instruction->negated ? ~EMU_PREDICATE(4) : EMU_PREDICATE(4);
        result = combine(EMU_WORD_OF(OPERATION), result, c);
        other = combine(EMU_WORD_OF(OPERATION), other, c);
    }
    emu_set_predicate(&EMU_PREDICATE(0), mask, result);
    if (EMU_HAS(1)) emu_set_predicate(&EMU_PREDICATE(1), mask, other);
}

// Pairs of halves: p from the low ones, q from the high ones.
EMU_EXECUTE(setp_pair) {
    struct relation low = {0, 0, 0}, high = {0, 0, 0};
    bool is_bf16 = instruction->form.types[0] == EMU_BF16X2;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        for (int half = 0; half < 2; half++) {
            struct relation *relation = half == 0 ? &low : &high;
            uint32_t x = EMU_32(2)[lane] >> 16 * half & 0xffff, y = EMU_32(3)[lane] >> 16 * half & 0xffff;
            float a = is_bf16 ? emu_bf16_value(x) : emu_f16_value(x),
                  b = is_bf16 ? emu_bf16_value(y) : emu_f16_value(y);
            relation->less |= (uint32_t)(a < b) << lane;
            relation->equal |= (uint32_t)(a == b) << lane;
            relation->greater |= (uint32_t)(a > b) << lane;
        }
    }
    uint32_t p = holds(EMU_WORD_OF(COMPARE), EMU_W_NONE, low), q = holds(EMU_WORD_OF(COMPARE), EMU_W_NONE, high);
    if (EMU_HAS(4)) {
        uint32_t c = instruction->negated ? ~EMU_PREDICATE(4) : EMU_PREDICATE(4);
        p = combine(EMU_WORD_OF(OPERATION), p, c);
        q = combine(EMU_WORD_OF(OPERATION), q, c);
    }
    emu_set_predicate(&EMU_PREDICATE(0), mask, p);
    if (EMU_HAS(1)) emu_set_predicate(&EMU_PREDICATE(1), mask, q);
}

// set: all ones or zero, or 1.0f or 0.0f.
EMU_EXECUTE(set) {
    uint32_t *d = EMU_32(0), result = compare(warp, instruction, (enum emu_type)instruction->form.types[1], 1);
    uint32_t yes = instruction->form.types[0] == EMU_F32 ? 0x3f800000u : 0xffffffffu;
    if (EMU_HAS(3)) {
        result = combine(EMU_WORD_OF(OPERATION), result, instruction->negated ? ~EMU_PREDICATE(3) : EMU_PREDICATE(3));
    }
    EMU_EACH_LANE({ d[lane] = (result >> lane & 1) != 0 ? yes : 0; });
}

#define SELECT(name, lane_type)                                                                                        \
    EMU_EXECUTE(name) {                                                                                                \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        const lane_type *bs = emu_lanes(warp, instruction->operands[2]);                                               \
        uint32_t p = instruction->negated ? ~EMU_PREDICATE(3) : EMU_PREDICATE(3);                                      \
        EMU_EACH_LANE({ d[lane] = (p >> lane & 1) != 0 ? as[lane] : bs[lane]; });                                      \
    }
SELECT(selp_32, uint32_t)
SELECT(selp_64, uint64_t)
static const emu_execute_fn selp_types[EMU_NUM_TYPES] = {
    [EMU_B16] = selp_32, [EMU_U16] = selp_32, [EMU_S16] = selp_32, [EMU_B32] = selp_32,  [EMU_U32] = selp_32,
    [EMU_S32] = selp_32, [EMU_F32] = selp_32, [EMU_F16] = selp_32, [EMU_BF16] = selp_32, [EMU_B64] = selp_64,
    [EMU_U64] = selp_64, [EMU_S64] = selp_64, [EMU_F64] = selp_64};

// slct: a where c >= 0, else b; c is s32 or f32 (NaN takes b).
EMU_EXECUTE(slct) {
    bool wide = instruction->element_bytes == 8, is_float = instruction->form.types[1] == EMU_F32;
    const uint32_t *cs = EMU_32(3);
    EMU_EACH_LANE({
        bool first = is_float ? emu_float(cs[lane]) >= 0 : (int32_t)cs[lane] >= 0;
        if (wide) {
            EMU_64(0)[lane] = EMU_64(first ? 1 : 2)[lane];
        } else {
            EMU_32(0)[lane] = EMU_32(first ? 1 : 2)[lane];
        }
    });
}

#define ROW .instruction_class = EMU_CLASS_INTEGER
#define COMPARE "eq|ne|lt|le|gt|ge|lo|ls|hi|hs|equ|neu|ltu|leu|gtu|geu|num|nan"
#define INTEGERS "b16|u16|s16|b32|u32|s32|b64|u64|s64"
static const struct emu_row rows[] = {
    {"setp", COMPARE " " INTEGERS "|f64|f16|bf16", "dp |p s0 s0", setp, ROW},
    {"setp", COMPARE " ?ftz f32|f16", "dp |p s0 s0", setp, ROW},
    {"setp", COMPARE " and|or|xor ?ftz " INTEGERS "|f32|f64|f16|bf16", "dp |p s0 s0 sp", setp, ROW},
    {"setp", COMPARE " ?and|or|xor ?ftz f16x2|bf16x2", "dp |p s0 s0 sp?", setp_pair, ROW},
    {"set", COMPARE " ?and|or|xor ?ftz u32|s32|f32 " INTEGERS "|f32|f64", "d0 s1 s1 sp?", set, ROW},
    {"selp", "T", "d0 s0 s0 sp", .by_type = selp_types, ROW},
    {"slct", "?ftz b16|u16|s16|b32|u32|s32|b64|u64|s64|f32|f64 s32|f32", "d0 s0 s0 s1", slct, ROW},
};
EMU_ROWS(emu_rows_compare, rows);
