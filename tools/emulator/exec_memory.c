// ld, st, atom, red, cp.async (PTX ISA "Data Movement and Conversion Instructions").
#include <stdlib.h>
#include <string.h>

#include "arithmetic.h"
#include "exec.h"
#include "machine_window.h"

void emu_warp_addresses(const struct emu_warp *warp, const struct emu_instruction *instruction,
                        uint64_t addresses[EMU_LANES]) {
    uint64_t displacement = (uint64_t)instruction->displacement;
    if (!instruction->has_address) {
        for (int lane = 0; lane < EMU_LANES; lane++) addresses[lane] = displacement;
    } else if (instruction->address.register_class == EMU_REGISTER_64) {
        const uint64_t *base = emu_lanes(warp, &instruction->address);
        for (int lane = 0; lane < EMU_LANES; lane++) addresses[lane] = base[lane] + displacement;
    } else {
        const uint32_t *base = emu_lanes(warp, &instruction->address);
        for (int lane = 0; lane < EMU_LANES; lane++) addresses[lane] = base[lane] + displacement;
    }
}

static bool is_shared(const struct emu_instruction *instruction, uint64_t *address) {
    if (instruction->space == EMU_SPACE_SHARED) return true;
    if (instruction->space != EMU_SPACE_GENERIC || *address - EMU_SHARED_WINDOW >= EMU_SHARED_WINDOW_BYTES)
        return false;
    *address -= EMU_SHARED_WINDOW;
    return true;
}

static void write_lane(struct emu_warp *warp, const struct emu_operand *operand, int lane, uint64_t value) {
    if (operand->register_class == EMU_REGISTER_64) {
        ((uint64_t *)emu_lanes(warp, operand))[lane] = value;
    } else {
        ((uint32_t *)emu_lanes(warp, operand))[lane] = (uint32_t)value;
    }
}

static uint64_t read_lane(const struct emu_warp *warp, const struct emu_operand *operand, int lane) {
    if (operand->register_class == EMU_REGISTER_64) return ((const uint64_t *)emu_lanes(warp, operand))[lane];
    return ((const uint32_t *)emu_lanes(warp, operand))[lane];
}

// Little endian, as host and device are.
static uint64_t extend(const uint8_t *bytes, uint32_t count, bool is_signed) {
    uint64_t value = 0;
    memcpy(&value, bytes, count);
    if (is_signed && count < 8 && bytes[count - 1] & 0x80) value |= UINT64_MAX << (count * 8);
    return value;
}

static bool read_parameters(struct emu_warp *warp, int lane, uint64_t address, uint8_t *data, uint32_t bytes) {
    const struct emu_cta *cta = warp->cta;
    if (address + bytes > cta->kernel->facts.parameter_bytes || address % bytes != 0) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                         "read of %u bytes at byte %llu of %zu bytes of parameters", bytes, (unsigned long long)address,
                         cta->kernel->facts.parameter_bytes);
        return false;
    }
    memcpy(data, (const uint8_t *)cta->launch->parameters + address, bytes);
    return true;
}

static bool load_lane(struct emu_warp *warp, const struct emu_instruction *instruction, int lane, uint64_t address,
                      uint8_t *data, uint32_t bytes) {
    if (instruction->space == EMU_SPACE_PARAM) return read_parameters(warp, lane, address, data, bytes);
    if (is_shared(instruction, &address)) {
        if (!emu_shared_check(warp, lane, address, bytes, EMU_ACCESS_READ)) return false;
        emu_shared_read(warp, address, data, bytes);
        return true;
    }
    const void *memory = emu_global_access(warp, lane, address, bytes, EMU_ACCESS_READ);
    if (memory == NULL) return false;
    memcpy(data, memory, bytes);
    return true;
}

EMU_EXECUTE(load) {
    uint64_t addresses[EMU_LANES];
    uint32_t element = instruction->element_bytes, bytes = element * instruction->vector;
    emu_warp_addresses(warp, instruction, addresses);
    for (int lane = 0; lane < EMU_LANES; lane++) {
        uint8_t data[32];
        if ((mask >> lane & 1) == 0) continue;
        if (!load_lane(warp, instruction, lane, addresses[lane], data, bytes)) return;
        for (uint32_t i = 0; i < instruction->vector; i++) {
            write_lane(warp, &instruction->operands[i], lane,
                       extend(data + i * element, element, instruction->is_signed));
        }
    }
    warp->cta->counters.shared_accesses += instruction->space == EMU_SPACE_SHARED;
}

EMU_EXECUTE(store) {
    uint64_t addresses[EMU_LANES];
    uint32_t element = instruction->element_bytes, bytes = element * instruction->vector;
    emu_warp_addresses(warp, instruction, addresses);
    for (int lane = 0; lane < EMU_LANES; lane++) {
        uint8_t data[32];
        uint64_t address = addresses[lane];
        if ((mask >> lane & 1) == 0) continue;
        for (uint32_t i = 0; i < instruction->vector; i++) {
            uint64_t value = read_lane(warp, &instruction->operands[i], lane);
            memcpy(data + i * element, &value, element);
        }
        if (is_shared(instruction, &address)) {
            if (!emu_shared_check(warp, lane, address, bytes, EMU_ACCESS_WRITE)) return;
            emu_shared_write(warp, address, data, bytes);
        } else {
            void *memory = emu_global_access(warp, lane, address, bytes, EMU_ACCESS_WRITE);
            if (memory == NULL) return;
            memcpy(memory, data, bytes);
        }
    }
    warp->cta->counters.shared_accesses += instruction->space == EMU_SPACE_SHARED;
}

// Words of global memory that one lane changes, one after another, as an atomic unit does. `words` per lane.
typedef uint32_t (*update_fn)(uint32_t old, uint32_t operand, uint32_t second);

static void update(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                   uint32_t first_operand, uint32_t words, bool returns, update_fn next) {
    uint64_t addresses[EMU_LANES];
    emu_warp_addresses(warp, instruction, addresses);
    for (int lane = 0; lane < EMU_LANES; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        uint32_t *memory = emu_global_access(warp, lane, addresses[lane], words * 4, EMU_ACCESS_ATOMIC);
        if (memory == NULL) return;
        for (uint32_t i = 0; i < words; i++) {
            uint32_t a = (uint32_t)read_lane(warp, &instruction->operands[first_operand + i], lane), b = 0;
            if (instruction->num_operands > first_operand + words) {
                b = (uint32_t)read_lane(warp, &instruction->operands[first_operand + words], lane);
            }
            uint32_t old = __atomic_load_n(&memory[i], __ATOMIC_RELAXED);
            while (!__atomic_compare_exchange_n(&memory[i], &old, next(old, a, b), false, __ATOMIC_RELAXED,
                                                __ATOMIC_RELAXED)) {
            }
            if (returns) write_lane(warp, &instruction->operands[0], lane, old);
        }
    }
}

static uint32_t next_add(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    return old + a;
}

static uint32_t next_cas(uint32_t old, uint32_t compared, uint32_t value) {
    return old == compared ? value : old;
}

static uint32_t next_exchange(uint32_t old, uint32_t a, uint32_t b) {
    (void)old;
    (void)b;
    return a;
}

static uint32_t next_max_s32(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    return (int32_t)old > (int32_t)a ? old : a;
}

static uint32_t next_add_f32(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    float sum = emu_float(old) + emu_float(a);
    return sum != sum ? 0x7fffffffu : emu_bits(sum);
}

static uint32_t add_f16(uint32_t a, uint32_t b) {
    // A sum of two fp16 is exact in a float.
    return emu_f16_round(emu_f16_value(a & 0xffff) + emu_f16_value(b & 0xffff));
}

static uint32_t next_add_f16x2(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    return add_f16(old, a) | add_f16(old >> 16, a >> 16) << 16;
}

static uint32_t next_add_bf16x2(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    return emu_bf16_fma(old & 0xffff, 0x3f80, a & 0xffff) | emu_bf16_fma(old >> 16, 0x3f80, a >> 16) << 16;
}

EMU_EXECUTE(atomic_add_u32) {
    update(warp, instruction, mask, 1, 1, true, next_add);
}

EMU_EXECUTE(atomic_cas_32) {
    update(warp, instruction, mask, 1, 1, true, next_cas);
}

EMU_EXECUTE(atomic_exch_32) {
    update(warp, instruction, mask, 1, 1, true, next_exchange);
}

EMU_EXECUTE(atomic_max_s32) {
    update(warp, instruction, mask, 1, 1, true, next_max_s32);
}

EMU_EXECUTE(reduce_add_u32) {
    update(warp, instruction, mask, 0, 1, false, next_add);
}

EMU_EXECUTE(reduce_add_f32) {
    update(warp, instruction, mask, 0, 1, false, next_add_f32);
}

EMU_EXECUTE(reduce_add_v4_f32) {
    update(warp, instruction, mask, 0, 4, false, next_add_f32);
}

EMU_EXECUTE(reduce_add_f16x2) {
    update(warp, instruction, mask, 0, 1, false, next_add_f16x2);
}

EMU_EXECUTE(reduce_add_bf16x2) {
    update(warp, instruction, mask, 0, 1, false, next_add_bf16x2);
}

EMU_EXECUTE(reduce_add_v4_bf16x2) {
    update(warp, instruction, mask, 0, 4, false, next_add_bf16x2);
}

static bool push_copy(struct emu_warp *warp, const struct emu_copy *copy) {
    if (warp->num_copies == warp->copies_capacity) {
        uint32_t capacity = warp->copies_capacity * 2 + 256;
        struct emu_copy *copies = realloc(warp->copies, capacity * sizeof(*copies));
        if (copies == NULL) return false;
        warp->copies = copies;
        warp->copies_capacity = capacity;
    }
    warp->copies[warp->num_copies++] = *copy;
    return true;
}

// "cp.async": read at once, landed only when the thread waits for it, so that a forgotten wait shows. The place it goes
// to counts as written from now on as far as races go, and again when it lands.
EMU_EXECUTE(copy_async_16) {
    const uint32_t *destination = EMU_U32(0), *size = EMU_U32(2);
    const uint64_t *source = EMU_U64(1);
    for (int lane = 0; lane < EMU_LANES; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        struct emu_copy copy = {
            .lane = (uint32_t)lane, .group = warp->groups[lane], .destination = destination[lane], .bytes = size[lane]};
        if (copy.bytes > 16) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "cp.async of 16 bytes has a source size of %u",
                             copy.bytes);
            return;
        }
        if (!emu_shared_check(warp, lane, copy.destination, 16, EMU_ACCESS_WRITE)) return;
        if (source[lane] % 16 != 0) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_MISALIGNED,
                             "cp.async of 16 bytes from 0x%llx, which is not aligned to them",
                             (unsigned long long)source[lane]);
            return;
        }
        if (copy.bytes > 0) {
            const void *memory = emu_global_access(warp, lane, source[lane], copy.bytes, EMU_ACCESS_READ);
            if (memory == NULL) return;
            memcpy(copy.data, memory, copy.bytes);
        }
        // Until it lands nobody may read what was there: it may be old or new.
        memset(warp->cta->shared_written + (copy.destination - EMU_SHARED_BASE), 0, 16);
        if (!push_copy(warp, &copy)) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_OUT_OF_RESOURCES, "the emulator has no memory for a copy");
            return;
        }
        warp->cta->counters.async_copies++;
        warp->cta->counters.async_copy_bytes += 16;
    }
}

EMU_EXECUTE(copy_async_commit) {
    (void)instruction;
    EMU_EACH_LANE(warp->groups[lane]++);
}

void emu_copies_land(struct emu_warp *warp, uint32_t mask, uint32_t pending) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < warp->num_copies; i++) {
        const struct emu_copy *copy = &warp->copies[i];
        bool waits = mask >> copy->lane & 1, done = copy->group + pending < warp->groups[copy->lane];
        if (waits && done) {
            if (!emu_shared_check(warp, (int)copy->lane, copy->destination, 16, EMU_ACCESS_WRITE)) return;
            emu_shared_write(warp, copy->destination, copy->data, 16);
        } else {
            warp->copies[kept++] = *copy;
        }
    }
    warp->num_copies = kept;
}

EMU_EXECUTE(copy_async_wait) {
    emu_copies_land(warp, mask, (uint32_t)instruction->immediate);
}

EMU_EXECUTE(copy_async_wait_all) {
    EMU_EACH_LANE(warp->groups[lane]++);
    emu_copies_land(warp, mask, 0);
    (void)instruction;
}
