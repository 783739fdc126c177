// mov, cvta, and special registers that change.
#include "exec_types.h"
#include "ptx_parser.h"

EMU_EXECUTE(mov_32) {
    uint32_t *d = EMU_32(0);
    const uint32_t *a = EMU_32(1);
    EMU_EACH_LANE({ d[lane] = a[lane]; });
}

EMU_EXECUTE(mov_64) {
    uint64_t *d = EMU_64(0);
    const uint64_t *a = EMU_64(1);
    EMU_EACH_LANE({ d[lane] = a[lane]; });
}

EMU_EXECUTE(mov_128) {
    struct pair {
        uint64_t low, high;
    } *d = emu_lanes(warp, instruction->operands[0]);
    const struct pair *a = emu_lanes(warp, instruction->operands[1]);
    EMU_EACH_LANE({ d[lane] = a[lane]; });
}

EMU_EXECUTE(mov_predicate) {
    uint32_t a = EMU_PREDICATE(1);
    emu_set_predicate(&EMU_PREDICATE(0), mask, instruction->negated ? ~a : a);
}

static const emu_execute_fn mov_types[EMU_NUM_TYPES] = {
    [EMU_B16] = mov_32, [EMU_U16] = mov_32, [EMU_S16] = mov_32, [EMU_F16] = mov_32,   [EMU_BF16] = mov_32,
    [EMU_B32] = mov_32, [EMU_U32] = mov_32, [EMU_S32] = mov_32, [EMU_F32] = mov_32,   [EMU_B64] = mov_64,
    [EMU_U64] = mov_64, [EMU_S64] = mov_64, [EMU_F64] = mov_64, [EMU_B128] = mov_128, [EMU_PRED] = mov_predicate};

// A register's bytes in one lane, whatever its width.
static uint8_t *lane_bytes(struct emu_warp *warp, uint32_t operand, uint32_t lane, uint32_t bytes) {
    return (uint8_t *)emu_lanes(warp, operand) + lane * (bytes < 4 ? 4 : bytes);
}

// Parts are of element_bytes each, the whole of register_bytes; parts first in the text of "mov {a, b}, c".
EMU_EXECUTE(unpack) {
    uint32_t part = instruction->element_bytes, whole = instruction->register_bytes, count = whole / part;
    EMU_EACH_LANE({
        uint8_t bytes[16];
        memcpy(bytes, lane_bytes(warp, instruction->operands[count], lane, whole), whole);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t *to = lane_bytes(warp, instruction->operands[i], lane, part);
            memset(to, 0, part < 4 ? 4 : part);
            memcpy(to, bytes + i * part, part);
        }
    });
}

EMU_EXECUTE(pack) {
    uint32_t part = instruction->element_bytes, whole = instruction->register_bytes, count = whole / part;
    EMU_EACH_LANE({
        uint8_t bytes[16];
        for (uint32_t i = 0; i < count; i++) {
            memcpy(bytes + i * part, lane_bytes(warp, instruction->operands[i], lane, part), part);
        }
        uint8_t *to = lane_bytes(warp, instruction->operands[count], lane, whole);
        memset(to, 0, whole < 4 ? 4 : whole);
        memcpy(to, bytes, whole);
    });
}
// The usual ones: halves of 32 bits, and of 64.
EMU_EXECUTE(unpack_16) {
    uint32_t *low = EMU_32(0), *high = EMU_32(1);
    const uint32_t *whole = EMU_32(2);
    EMU_EACH_LANE({
        uint32_t bits = whole[lane];
        low[lane] = bits & 0xffff;
        high[lane] = bits >> 16;
    });
}

EMU_EXECUTE(pack_16) {
    uint32_t *whole = EMU_32(2);
    const uint32_t *low = EMU_32(0), *high = EMU_32(1);
    EMU_EACH_LANE({ whole[lane] = (low[lane] & 0xffff) | high[lane] << 16; });
}

EMU_EXECUTE(unpack_32) {
    uint32_t *low = EMU_32(0), *high = EMU_32(1);
    const uint64_t *whole = EMU_64(2);
    EMU_EACH_LANE({
        uint64_t bits = whole[lane];
        low[lane] = (uint32_t)bits;
        high[lane] = (uint32_t)(bits >> 32);
    });
}

EMU_EXECUTE(pack_32) {
    uint64_t *whole = EMU_64(2);
    const uint32_t *low = EMU_32(0), *high = EMU_32(1);
    EMU_EACH_LANE({ whole[lane] = low[lane] | (uint64_t)high[lane] << 32; });
}

emu_execute_fn emu_choose_braced(bool unpacks, uint32_t part_bytes, uint32_t whole_bytes) {
    if (part_bytes == 2 && whole_bytes == 4) return unpacks ? unpack_16 : pack_16;
    if (part_bytes == 4 && whole_bytes == 8) return unpacks ? unpack_32 : pack_32;
    return unpacks ? unpack : pack;
}

const struct emu_row emu_row_pack = {"mov", "b32|b64|b128", "d0 {parts}", pack, .instruction_class = EMU_CLASS_INTEGER};
const struct emu_row emu_row_unpack = {"mov", "b32|b64|b128", "{parts} s0", unpack,
                                       .instruction_class = EMU_CLASS_INTEGER};

// ---- Special registers that change while a warp runs: which one is in displacements[0].
enum { CLOCK, CLOCK_HI, CLOCK64, GLOBALTIMER, LANEMASK_EQ, LANEMASK_LE, LANEMASK_LT, LANEMASK_GE, LANEMASK_GT, ZERO };
static const struct {
    const char *name;
    int which;
    unsigned bits;
} dynamic[] = {
    {"%clock", CLOCK, 32},
    {"%clock_hi", CLOCK_HI, 32},
    {"%clock64", CLOCK64, 64},
    {"%globaltimer", GLOBALTIMER, 64},
    {"%globaltimer_lo", CLOCK, 32},
    {"%lanemask_eq", LANEMASK_EQ, 32},
    {"%lanemask_le", LANEMASK_LE, 32},
    {"%lanemask_lt", LANEMASK_LT, 32},
    {"%lanemask_ge", LANEMASK_GE, 32},
    {"%lanemask_gt", LANEMASK_GT, 32},
    {"%gridid", ZERO, 64},
};

// A clock counts instructions of the host thread: it goes forward and says nothing of time.
static uint64_t special_value(const struct emu_warp *warp, int which, uint32_t lane) {
    uint64_t instructions = warp->cta->run->counters.warp_instructions;
    switch (which) {
    case CLOCK:
    case CLOCK64:
    case GLOBALTIMER: return instructions;
    case CLOCK_HI: return instructions >> 32;
    case LANEMASK_EQ: return 1u << lane;
    case LANEMASK_LE: return EMU_FULL_MASK >> (31 - lane);
    case LANEMASK_LT: return (1u << lane) - 1;
    case LANEMASK_GE: return EMU_FULL_MASK << lane;
    case LANEMASK_GT: return ~(EMU_FULL_MASK >> (31 - lane));
    default: return 0;
    }
}

EMU_EXECUTE(read_special) {
    EMU_EACH_LANE({
        uint64_t value = special_value(warp, (int)instruction->displacements[0], lane);
        if (instruction->register_bytes == 8) {
            EMU_64(0)[lane] = value;
        } else {
            EMU_32(0)[lane] = (uint32_t)value;
        }
    });
}

bool emu_parse_dynamic_special(struct emu_parser *parser, struct emu_instruction *instruction,
                               struct emu_operands *read);

// "mov.u32 %r1, %clock;"
bool emu_parse_dynamic_special(struct emu_parser *parser, struct emu_instruction *instruction,
                               struct emu_operands *read) {
    struct emu_lexer saved = parser->lexer;
    unsigned met = 32;
    emu_lexer_advance(&parser->lexer);
    if (emu_lexer_take(&parser->lexer, ",")) {
        for (size_t i = 0; i < sizeof(dynamic) / sizeof(dynamic[0]); i++) {
            if (!emu_lexer_is(&parser->lexer, dynamic[i].name)) continue;
            parser->lexer = saved;
            read->list[read->count++] = emu_parse_register(parser, dynamic[i].bits, false, &met);
            emu_lexer_advance(&parser->lexer);
            emu_lexer_advance(&parser->lexer);
            instruction->displacements[0] = dynamic[i].which;
            instruction->register_bytes = (uint8_t)(met / 8);
            instruction->execute = read_special;
            return true;
        }
    }
    parser->lexer = saved;
    return false;
}

// ---- cvta: windows of generic addresses.
static uint64_t window_of(const struct emu_instruction *instruction) {
    switch (instruction->space) {
    case EMU_SPACE_SHARED: return (uint64_t)EMU_WINDOW_SHARED << EMU_WINDOW_SHIFT;
    case EMU_SPACE_LOCAL: return (uint64_t)EMU_WINDOW_LOCAL << EMU_WINDOW_SHIFT;
    case EMU_SPACE_PARAM: return (uint64_t)EMU_WINDOW_PARAM << EMU_WINDOW_SHIFT;
    default: return 0;
    }
}

EMU_EXECUTE(cvta) {
    uint64_t *d = EMU_64(0), window = window_of(instruction);
    const uint64_t *a = EMU_64(1);
    if (EMU_FLAG(TO)) window = 0 - window;
    EMU_EACH_LANE({ d[lane] = a[lane] + window; });
}

// isspacep: does the generic address lie in this state space?
EMU_EXECUTE(isspacep) {
    uint32_t result = 0;
    const uint64_t *a = EMU_64(1);
    uint64_t window = window_of(instruction) >> EMU_WINDOW_SHIFT;
    EMU_EACH_LANE({ result |= (uint32_t)(a[lane] >> EMU_WINDOW_SHIFT == window) << lane; });
    emu_set_predicate(&EMU_PREDICATE(0), mask, result);
}

#define ROW .instruction_class = EMU_CLASS_INTEGER
#define SPACES "global|shared|shared::cta|shared::cluster|local|const|param|param::entry"
static const struct emu_row rows[] = {
    {"mov", "T", "d0 s0", .by_type = mov_types, ROW},
    {"cvta", SPACES " u64", "d64 s64", cvta, ROW},
    {"cvta", "to " SPACES " u64", "d64 s64", cvta, ROW},
    {"isspacep", SPACES, "dp s64", isspacep, ROW},
};
EMU_ROWS(emu_rows_move, rows);
