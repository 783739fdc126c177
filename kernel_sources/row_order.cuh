// Where a checkpoint keeps the gate or up row of a channel (docs/numerics.md).
#pragma once
#include "abi.h"

namespace moejit {

template <int row_order> __device__ __forceinline__ int source_row(int channel, bool up, int intermediate)
{
    if constexpr (row_order == MJ_ROWS_GATE_UP) {
        return up ? intermediate + channel : channel;
    } else if constexpr (row_order == MJ_ROWS_UP_GATE) {
        return up ? channel : intermediate + channel;
    } else if constexpr (row_order == MJ_ROWS_GATE_UP_ALTERNATING) {
        return 2 * channel + (up ? 1 : 0);
    } else {
        static_assert(row_order == MJ_ROWS_INTERLEAVED_64, "a gated row order");
        return channel / 64 * 128 + (up ? 0 : 64) + channel % 64;
    }
}

// The same with the order as a value. Plain matrices never ask.
__device__ __forceinline__ int source_row_of(int row_order, int channel, bool up, int intermediate)
{
    switch (row_order) {
    case MJ_ROWS_GATE_UP: return source_row<MJ_ROWS_GATE_UP>(channel, up, intermediate);
    case MJ_ROWS_UP_GATE: return source_row<MJ_ROWS_UP_GATE>(channel, up, intermediate);
    case MJ_ROWS_GATE_UP_ALTERNATING: return source_row<MJ_ROWS_GATE_UP_ALTERNATING>(channel, up, intermediate);
    default: return source_row<MJ_ROWS_INTERLEAVED_64>(channel, up, intermediate);
    }
}

} // namespace moejit
