// Executors for many types from one expression: the register's lane type, the C type of the value, and the unsigned
// type that cuts a result to its width.
#ifndef MOEJIT_EMULATOR_EXEC_TYPES_H
#define MOEJIT_EMULATOR_EXEC_TYPES_H

#include "warp.h"

#define EMU_T_U16 uint32_t, uint16_t, uint16_t
#define EMU_T_S16 uint32_t, int16_t, uint16_t
#define EMU_T_U32 uint32_t, uint32_t, uint32_t
#define EMU_T_S32 uint32_t, int32_t, uint32_t
#define EMU_T_U64 uint64_t, uint64_t, uint64_t
#define EMU_T_S64 uint64_t, int64_t, uint64_t

// d = expression of `a`.
#define EMU_UNARY(name, tuple, ...) EMU_UNARY_OF(name, tuple, __VA_ARGS__)
#define EMU_UNARY_OF(name, lane_type, type, bits, ...)                                                                 \
    EMU_EXECUTE(name) {                                                                                                \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        EMU_EACH_LANE({                                                                                                \
            type a = (type)as[lane];                                                                                   \
            d[lane] = (bits)(__VA_ARGS__);                                                                             \
        });                                                                                                            \
    }

// ... of `a` and `b`.
#define EMU_BINARY(name, tuple, ...) EMU_BINARY_OF(name, tuple, __VA_ARGS__)
#define EMU_BINARY_OF(name, lane_type, type, bits, ...)                                                                \
    EMU_EXECUTE(name) {                                                                                                \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        const lane_type *bs = emu_lanes(warp, instruction->operands[2]);                                               \
        EMU_EACH_LANE({                                                                                                \
            type a = (type)as[lane], b = (type)bs[lane];                                                               \
            d[lane] = (bits)(__VA_ARGS__);                                                                             \
        });                                                                                                            \
    }

// ... of `a`, `b` and `c`.
#define EMU_TERNARY(name, tuple, ...) EMU_TERNARY_OF(name, tuple, __VA_ARGS__)
#define EMU_TERNARY_OF(name, lane_type, type, bits, ...)                                                               \
    EMU_EXECUTE(name) {                                                                                                \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        const lane_type *bs = emu_lanes(warp, instruction->operands[2]);                                               \
        const lane_type *cs = emu_lanes(warp, instruction->operands[3]);                                               \
        EMU_EACH_LANE({                                                                                                \
            type a = (type)as[lane], b = (type)bs[lane], c = (type)cs[lane];                                           \
            d[lane] = (bits)(__VA_ARGS__);                                                                             \
        });                                                                                                            \
    }

// The second source is a shift or position of 32 bits, whatever the type.
#define EMU_SHIFT(name, tuple, ...) EMU_SHIFT_OF(name, tuple, __VA_ARGS__)
#define EMU_SHIFT_OF(name, lane_type, type, bits, ...)                                                                 \
    EMU_EXECUTE(name) {                                                                                                \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        const uint32_t *bs = emu_lanes(warp, instruction->operands[2]);                                                \
        EMU_EACH_LANE({                                                                                                \
            type a = (type)as[lane];                                                                                   \
            uint32_t b = bs[lane];                                                                                     \
            d[lane] = (bits)(__VA_ARGS__);                                                                             \
        });                                                                                                            \
    }

// From one type to another: d = expression of `a`.
#define EMU_CONVERT(name, to, from, ...) EMU_CONVERT_TO(name, to, from, __VA_ARGS__)
#define EMU_CONVERT_TO(name, to_lane, to_type, to_bits, from_lane, from_type, from_bits, ...)                          \
    EMU_EXECUTE(name) {                                                                                                \
        to_lane *d = emu_lanes(warp, instruction->operands[0]);                                                        \
        const from_lane *as = emu_lanes(warp, instruction->operands[1]);                                               \
        EMU_EACH_LANE({                                                                                                \
            from_type a = (from_type)as[lane];                                                                         \
            d[lane] = (to_bits)(__VA_ARGS__);                                                                          \
        });                                                                                                            \
    }

#endif
