// mov, cvt between integers, cvta.
#include "exec.h"

#include "machine_window.h"

EMU_EXECUTE(mov_32) {
    uint32_t *d = EMU_U32(0);
    const uint32_t *a = EMU_U32(1);
    EMU_EACH_LANE(d[lane] = a[lane]);
}

EMU_EXECUTE(mov_64) {
    uint64_t *d = EMU_U64(0);
    const uint64_t *a = EMU_U64(1);
    EMU_EACH_LANE(d[lane] = a[lane]);
}

EMU_EXECUTE(mov_16_from_32) {
    uint32_t *d = EMU_U32(0);
    const uint32_t *a = EMU_U32(1);
    EMU_EACH_LANE(d[lane] = a[lane] & 0xffff);
}

EMU_EXECUTE(mov_pack_16) {
    uint32_t *d = EMU_U32(0);
    const uint32_t *low = EMU_U32(1), *high = EMU_U32(2);
    EMU_EACH_LANE(d[lane] = (low[lane] & 0xffff) | high[lane] << 16);
}

EMU_EXECUTE(mov_unpack_16) {
    uint32_t *low = EMU_U32(0), *high = EMU_U32(1);
    const uint32_t *a = EMU_U32(2);
    EMU_EACH_LANE({
        uint32_t word = a[lane];
        low[lane] = word & 0xffff;
        high[lane] = word >> 16;
    });
}

EMU_EXECUTE(mov_pack_32) {
    uint64_t *d = EMU_U64(0);
    const uint32_t *low = EMU_U32(1), *high = EMU_U32(2);
    EMU_EACH_LANE(d[lane] = low[lane] | (uint64_t)high[lane] << 32);
}

EMU_EXECUTE(mov_unpack_32) {
    uint32_t *low = EMU_U32(0), *high = EMU_U32(1);
    const uint64_t *a = EMU_U64(2);
    EMU_EACH_LANE({
        uint64_t word = a[lane];
        low[lane] = (uint32_t)word;
        high[lane] = (uint32_t)(word >> 32);
    });
}

EMU_EXECUTE(widen_s32) {
    uint64_t *d = EMU_U64(0);
    const uint32_t *a = EMU_U32(1);
    EMU_EACH_LANE(d[lane] = (uint64_t)(int64_t)(int32_t)a[lane]);
}

EMU_EXECUTE(widen_u32) {
    uint64_t *d = EMU_U64(0);
    const uint32_t *a = EMU_U32(1);
    EMU_EACH_LANE(d[lane] = a[lane]);
}

EMU_EXECUTE(narrow) {
    uint32_t *d = EMU_U32(0);
    const uint64_t *a = EMU_U64(1);
    EMU_EACH_LANE(d[lane] = (uint32_t)a[lane]);
}

#define EXTEND(name, expression)                                                                                       \
    EMU_EXECUTE(name) {                                                                                                \
        uint32_t *d = EMU_U32(0);                                                                                      \
        const uint32_t *a = EMU_U32(1);                                                                                \
        EMU_EACH_LANE(d[lane] = (uint32_t)(expression));                                                               \
    }

EXTEND(extend_s8, (int32_t)(int8_t)a[lane])
EXTEND(extend_u8, a[lane] & 0xff)
EXTEND(extend_s16, (int32_t)(int16_t)a[lane])
EXTEND(extend_u16, a[lane] & 0xffff)

EMU_EXECUTE(shared_to_generic) {
    uint64_t *d = EMU_U64(0);
    const uint64_t *a = EMU_U64(1);
    EMU_EACH_LANE(d[lane] = a[lane] + EMU_SHARED_WINDOW);
}

EMU_EXECUTE(generic_to_shared) {
    uint64_t *d = EMU_U64(0);
    const uint64_t *a = EMU_U64(1);
    EMU_EACH_LANE(d[lane] = a[lane] - EMU_SHARED_WINDOW);
}
