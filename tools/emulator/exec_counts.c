// What accesses cost, for the counters: sectors of global memory, and lanes that wait for each other at a bank.
#include "warp.h"

#define SECTOR_BYTES 32
#define NUM_BANKS 32

// Of the lanes of one part of an access: how often its busiest bank is asked for another word than before.
static uint32_t count_conflicts(uint32_t lanes, uint32_t words_each, const struct emu_access *access) {
    uint32_t words[NUM_BANKS][EMU_LANES], counts[NUM_BANKS] = {0}, most = 1;
    for (; lanes != 0; lanes &= lanes - 1) {
        uint32_t first = (uint32_t)(access->addresses[__builtin_ctz(lanes)] >> 2);
        for (uint32_t word = first; word < first + words_each; word++) {
            uint32_t bank = word % NUM_BANKS, known = 0;
            while (known < counts[bank] && words[bank][known] != word) known++;
            if (known < counts[bank]) continue;
            words[bank][counts[bank]++] = word;
            if (counts[bank] > most) most = counts[bank];
        }
    }
    return most - 1;
}

// Mostly there are none: each bank is asked for one word.
static uint32_t conflicts_of(uint32_t lanes, uint32_t words_each, const struct emu_access *access) {
    uint32_t words[NUM_BANKS], asked = 0;
    for (uint32_t left = lanes; left != 0; left &= left - 1) {
        uint32_t first = (uint32_t)(access->addresses[__builtin_ctz(left)] >> 2);
        for (uint32_t word = first; word < first + words_each; word++) {
            uint32_t bank = word % NUM_BANKS;
            if ((asked >> bank & 1) != 0 && words[bank] != word) return count_conflicts(lanes, words_each, access);
            words[bank] = word;
            asked |= 1u << bank;
        }
    }
    return 0;
}

// A warp's 8-byte accesses go in two parts of 16 lanes, 16-byte ones in four of 8; a part without conflicts takes one
// turn.
void emu_count_shared(struct emu_warp *warp, uint32_t mask, uint32_t bytes, const struct emu_access *access) {
    struct emu_counters *counters = &warp->cta->run->counters;
    uint32_t words_each = bytes <= 4 ? 1 : bytes / 4, part_lanes = EMU_LANES / words_each;
    counters->shared_accesses++;
    for (uint32_t first = 0; first < EMU_LANES; first += part_lanes) {
        uint32_t part = part_lanes == EMU_LANES ? EMU_FULL_MASK : ((1u << part_lanes) - 1) << first;
        counters->shared_bank_conflicts += conflicts_of(mask & part, words_each, access);
    }
}

uint64_t emu_count_sectors(uint64_t address, uint64_t bytes) {
    return bytes > 0 ? (address + bytes - 1) / SECTOR_BYTES - address / SECTOR_BYTES + 1 : 0;
}

// Different ones; an aligned access lies in one. Neighbours mostly share it, so the newest is tried first.
uint32_t emu_count_lane_sectors(uint32_t mask, const uint64_t *addresses) {
    uint64_t sectors[EMU_LANES];
    uint32_t count = 0;
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint64_t sector = addresses[__builtin_ctz(lanes)] / SECTOR_BYTES;
        uint32_t i = count;
        while (i > 0 && sectors[i - 1] != sector) i--;
        if (i == 0) sectors[count++] = sector;
    }
    return count;
}
