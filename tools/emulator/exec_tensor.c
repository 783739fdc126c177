// Tensor copies (PTX ISA, "cp.async.bulk.tensor", "Tensors"): a box of a tensor that a map describes, tiled mode. The
// box is dense in shared memory, dimension 0 fastest, its 16-byte pieces swizzled by the shared address. What of it
// lies outside the tensor arrives as zeros, and is not written; of the 16 bytes with a row's last element all are.
#include "exec_bulk.h"

#include <stdlib.h>

#include "tensor_map.h"

#define BOX_ALIGNMENT 128

struct call {
    struct emu_flight flight;
    struct emu_tensor_map map;
    int64_t at[EMU_TENSOR_MAX_RANK]; // the box's first element
};

// The map behind a generic address, of parameters, constants or global memory.
static bool read_map(struct call *call, uint64_t address) {
    struct emu_warp *warp = call->flight.warp;
    uint32_t lane = call->flight.lane;
    struct emu_access access;
    access.addresses[lane] = address;
    if (!emu_access_check(warp, 1u << lane, EMU_SPACE_GENERIC, EMU_TENSOR_MAP_BYTES, 64, EMU_ACCESS_READ, &access)) {
        return false;
    }
    memcpy(&call->map, access.pointers[lane], sizeof(call->map));
    if (call->map.magic == EMU_TENSOR_MAP_MAGIC && call->map.rank == call->flight.instruction->form.count) return true;
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                     call->map.magic != EMU_TENSOR_MAP_MAGIC
                         ? "address 0x%llx holds no tensor map"
                         : "the tensor map at address 0x%llx has another rank than the instruction",
                     (unsigned long long)address);
    return false;
}

static uint32_t row_bytes(const struct emu_tensor_map *map) {
    return (uint32_t)map->box[0] * map->element_bytes;
}

static uint32_t num_rows(const struct emu_tensor_map *map) {
    uint32_t rows = 1;
    for (int i = 1; i < EMU_TENSOR_MAX_RANK; i++) rows *= map->box[i];
    return rows;
}

// PTX ISA, "Swizzling modes": 16-byte chunks of a span are permuted by the address bits from 7 on.
static uint32_t swizzled(uint32_t address, uint32_t span) {
    return span == 0 ? address : address ^ (address >> 3 & (span - 1) & ~15u);
}

// The address of element 0 of a row of the box's dimension 0, and whether the row is inside the other dimensions.
static bool place_row(const struct call *call, uint32_t row, int64_t *address) {
    *address = (int64_t)call->map.address;
    bool inside = true;
    for (int i = 1; i < EMU_TENSOR_MAX_RANK; i++) {
        int64_t at = call->at[i] + row % call->map.box[i];
        row /= call->map.box[i];
        inside = inside && at >= 0 && (uint64_t)at < call->map.dims[i];
        *address += at * (int64_t)call->map.strides[i - 1];
    }
    return inside;
}

static uint8_t clamp(int64_t bytes) {
    return (uint8_t)(bytes < 0 ? 0 : bytes > EMU_PIECE_BYTES ? EMU_PIECE_BYTES : bytes);
}

// What of the piece is inside the tensor, checked as memory.
static bool place_piece(struct call *call, struct emu_piece *piece, int64_t row_address, uint32_t column) {
    const struct emu_tensor_map *map = &call->map;
    int64_t begin = call->at[0] * map->element_bytes + column, end = (int64_t)map->dims[0] * map->element_bytes;
    // Not said by the PTX ISA, but done by an H100 (docs/emulator.md): what follows a row in its last 16 bytes is
    // written too.
    if (call->flight.direction != EMU_TO_SHARED) end = (end + EMU_PIECE_BYTES - 1) / EMU_PIECE_BYTES * EMU_PIECE_BYTES;
    piece->first = clamp(-begin);
    piece->end = clamp(end - begin);
    piece->other = (uint8_t *)(uintptr_t)(row_address + begin);
    if (piece->end <= piece->first) return true;
    static const enum emu_access_kind kinds[] = {
        [EMU_TO_SHARED] = EMU_ACCESS_READ, [EMU_TO_GLOBAL] = EMU_ACCESS_WRITE, [EMU_REDUCE] = EMU_ACCESS_ATOMIC};
    return emu_global_check(call->flight.warp, call->flight.lane, (uint64_t)(row_address + begin + piece->first),
                            (uint32_t)(piece->end - piece->first), 1, kinds[call->flight.direction]) != NULL;
}

// The flight's pieces; its place in shared memory is known.
static bool cut(struct call *call) {
    struct emu_flight *flight = &call->flight;
    uint32_t per_row = row_bytes(&call->map) / EMU_PIECE_BYTES, rows = num_rows(&call->map);
    struct emu_pieces *pieces = malloc(sizeof(*pieces) + (size_t)per_row * rows * sizeof(pieces->list[0]));
    if (pieces == NULL) {
        emu_warp_finding(flight->warp, flight->lane, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory for a box");
        return false;
    }
    pieces->count = per_row * rows;
    for (uint32_t row = 0; row < rows; row++) {
        int64_t address;
        bool inside = place_row(call, row, &address);
        for (uint32_t i = 0; i < per_row; i++) {
            struct emu_piece *piece = &pieces->list[row * per_row + i];
            uint32_t shared = EMU_SHARED_BASE + flight->offset + (row * per_row + i) * EMU_PIECE_BYTES;
            *piece = (struct emu_piece){.offset = swizzled(shared, call->map.swizzle_bytes) - EMU_SHARED_BASE};
            if (!inside || place_piece(call, piece, address, i * EMU_PIECE_BYTES)) continue;
            free(pieces);
            return false;
        }
    }
    flight->pieces = pieces;
    return true;
}

// Where an H100 reports an illegal instruction (docs/emulator.md); the PTX ISA does not say so.
static bool check_coordinates(const struct call *call) {
    const struct emu_flight *flight = &call->flight;
    if (call->at[0] * call->map.element_bytes % EMU_PIECE_BYTES != 0) {
        emu_warp_finding(flight->warp, flight->lane, EMU_OUTCOME_ILLEGAL_INSTRUCTION,
                         "the first coordinate %lld of elements of %u bytes is no multiple of %u bytes",
                         (long long)call->at[0], (unsigned)call->map.element_bytes, (unsigned)EMU_PIECE_BYTES);
        return false;
    }
    for (uint32_t i = 0; flight->direction != EMU_TO_SHARED && i < call->map.rank; i++) {
        if (call->at[i] >= 0) continue;
        emu_warp_finding(
            flight->warp, flight->lane, EMU_OUTCOME_ILLEGAL_INSTRUCTION,
            "coordinate %u of a box that is written is %lld: only a box that is read may begin before the tensor", i,
            (long long)call->at[i]);
        return false;
    }
    return true;
}

// Operand `first` is the map's address, the coordinates follow.
static bool begin(struct call *call, struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t lane,
                  enum emu_direction direction, uint32_t first, uint64_t map_address) {
    *call = (struct call){.flight = {.warp = warp,
                                     .lane = lane,
                                     .instruction = instruction,
                                     .direction = direction,
                                     .alignment = BOX_ALIGNMENT}};
    if (!read_map(call, map_address)) return false;
    for (uint32_t i = 0; i < call->map.rank; i++) call->at[i] = (int32_t)EMU_32(first + 1 + i)[lane];
    call->flight.type = (enum emu_type)call->map.type;
    call->flight.bytes = row_bytes(&call->map) * num_rows(&call->map);
    return check_coordinates(call);
}

static bool load_box(struct call *call, uint64_t to, uint64_t mbarrier) {
    return emu_flight_find_shared(&call->flight, to) && emu_flight_find_mbarrier(&call->flight, mbarrier) &&
           cut(call) && emu_flight_issue(&call->flight);
}

// To the same place of every block that the mask names, each with its own mbarrier.
static bool load_boxes(struct call *call, uint32_t blocks, uint64_t to, uint64_t mbarrier) {
    for (; blocks != 0; blocks &= blocks - 1) {
        uint32_t rank = (uint32_t)__builtin_ctz(blocks);
        if (!load_box(call, emu_in_block(to, rank), emu_in_block(mbarrier, rank))) return false;
    }
    return true;
}

EMU_EXECUTE(load) { // [shared address], [map, {coordinates}], [mbarrier], blocks
    struct emu_access to, map, mbarrier;
    uint32_t last = 2u + instruction->form.count;
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1, 1, &map);
    emu_access_addresses(warp, instruction, mask, last, 2, &mbarrier);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct call call;
        if (!begin(&call, warp, instruction, lane, EMU_TO_SHARED, 1, map.addresses[lane])) return;
        bool good = EMU_FLAG(MULTICAST) ? load_boxes(&call, EMU_32(last + 1)[lane] & 0xffff, to.addresses[lane],
                                                     mbarrier.addresses[lane])
                                        : load_box(&call, to.addresses[lane], mbarrier.addresses[lane]);
        if (!good) return;
    }
}

// [map, {coordinates}], [shared address]
static void store_lanes(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                        enum emu_direction direction) {
    struct emu_access map, from;
    emu_access_addresses(warp, instruction, mask, 0, 0, &map);
    emu_access_addresses(warp, instruction, mask, 1u + instruction->form.count, 1, &from);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct call call;
        if (!begin(&call, warp, instruction, lane, direction, 0, map.addresses[lane])) return;
        call.flight.group = warp->bulk_groups[lane];
        if (!emu_flight_find_shared(&call.flight, from.addresses[lane]) || !cut(&call) ||
            !emu_flight_issue(&call.flight)) {
            return;
        }
    }
}

EMU_EXECUTE(store) {
    store_lanes(warp, instruction, mask, EMU_TO_GLOBAL);
}

EMU_EXECUTE(reduce) {
    store_lanes(warp, instruction, mask, EMU_REDUCE);
}

EMU_EXECUTE(prefetch) { // [map, {coordinates}]: nothing but the map is looked at
    struct emu_access map;
    emu_access_addresses(warp, instruction, mask, 0, 0, &map);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct call call;
        if (!begin(&call, warp, instruction, lane, EMU_TO_SHARED, 0, map.addresses[lane])) return;
    }
}

#define ROW .instruction_class = EMU_CLASS_MEMORY, .arch = 90
#define RANKS "1d|2d|3d|4d|5d "
static const struct emu_row rows[] = {
    {"cp",
     "async bulk tensor " RANKS "shared::cluster|shared::cta global ?tile mbarrier::complete_tx::bytes ?L2::cache_hint",
     "a t a s64?", load, ROW},
    {"cp",
     "async bulk tensor " RANKS
     "shared::cluster global ?tile mbarrier::complete_tx::bytes multicast::cluster ?L2::cache_hint",
     "a t a s16 s64?", load, ROW},
    {"cp", "async bulk tensor " RANKS "global shared::cta ?tile bulk_group ?L2::cache_hint", "t a s64?", store, ROW},
    {"cp",
     "reduce async bulk tensor " RANKS
     "global shared::cta add|min|max|inc|dec|and|or|xor ?tile bulk_group ?L2::cache_hint",
     "t a s64?", reduce, ROW},
    {"cp", "async bulk prefetch tensor " RANKS "L2 global ?tile ?L2::cache_hint", "t s64?", prefetch, ROW},
};
EMU_ROWS(emu_rows_tensor, rows);
