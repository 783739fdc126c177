// Every executor. One function an instruction, or a family's type.
#ifndef MOEJIT_EMULATOR_EXEC_H
#define MOEJIT_EMULATOR_EXEC_H

#include "warp.h"

// clang-format off
#define EMU_EXECUTORS(X) \
    X(nothing) X(branch) X(barrier) X(vote_ballot) X(vote_any) X(vote_all) X(shuffle_bfly) X(shuffle_idx) \
    X(shuffle_up) X(shuffle_down) X(warp_barrier) X(add_u16) X(sub_u16) X(mul_lo_u16) X(and_16) X(or_16) \
    X(xor_16) X(not_16) X(shl_16) X(shr_u16) X(shr_s16) X(add_u32) X(sub_u32) X(mul_lo_u32) X(mul_hi_s32) \
    X(mul_hi_u32) X(mul_wide_s32) X(mul_wide_u32) X(mul_wide_u16) X(mul_wide_s16) X(mad_lo_u32) \
    X(mad_wide_s32) X(mad_wide_u32) X(div_s32) X(div_u32) X(rem_s32) X(rem_u32) X(min_s32) X(max_s32) \
    X(min_u32) X(max_u32) X(abs_s32) X(neg_s32) X(not_32) X(and_32) X(or_32) X(xor_32) X(shl_32) X(shr_u32) \
    X(shr_s32) X(popc_32) X(clz_32) X(brev_32) X(bfi_32) X(bfe_u32) X(bfe_s32) X(prmt_32) X(lop3_32) \
    X(shf_l_wrap) X(shf_r_wrap) X(add_u64) X(sub_u64) X(mul_lo_u64) X(mul_hi_u64) X(mul_hi_s64) \
    X(mad_lo_u64) X(div_s64) X(div_u64) X(rem_s64) X(rem_u64) X(min_s64) X(max_s64) X(min_u64) X(max_u64) \
    X(neg_s64) X(not_64) X(and_64) X(or_64) X(xor_64) X(shl_64) X(shr_u64) X(shr_s64) X(popc_64) \
    X(and_predicate) X(or_predicate) X(xor_predicate) X(not_predicate) X(mov_predicate) X(add_f32) \
    X(sub_f32) X(mul_f32) X(div_f32) X(fma_f32) X(min_f32) X(max_f32) X(abs_f32) X(neg_f32) X(copysign_f32) \
    X(sqrt_f32) X(rcp_f32) X(fma_bf16x2) X(cvt_bf16x2_f32) X(cvt_f16x2_f32) X(cvt_f32_f16) X(cvt_bf16_f32) \
    X(cvt_f32_u32) X(cvt_f32_s32) X(cvt_s32_f32) X(cvt_u32_f32) X(cvt_floor_s32_f32) X(cvt_nearest_s32_f32) \
    X(mov_32) X(mov_64) X(mov_16_from_32) X(mov_pack_16) X(mov_unpack_16) X(mov_pack_32) X(mov_unpack_32) \
    X(select_32) X(select_64) X(widen_s32) X(widen_u32) X(narrow) X(extend_s8) X(extend_u8) X(extend_s16) \
    X(extend_u16) X(shared_to_generic) X(generic_to_shared) X(setp_u16) X(setp_s16) X(setp_u32) X(setp_s32) \
    X(setp_u64) X(setp_s64) X(setp_f32) X(load) X(store) X(atomic_add_u32) X(atomic_cas_32) \
    X(atomic_exch_32) X(atomic_max_s32) X(reduce_add_u32) X(reduce_add_f32) X(reduce_add_v4_f32) \
    X(reduce_add_f16x2) X(reduce_add_bf16x2) X(reduce_add_v4_bf16x2) X(copy_async_16) X(copy_async_commit) \
    X(copy_async_wait) X(copy_async_wait_all) X(load_matrix_x1) X(load_matrix_x2) X(load_matrix_x4) \
    X(mma_m16n8k16_bf16)
// clang-format on

#define EMU_DECLARE(name)                                                                                              \
    void emu_execute_##name(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask);
EMU_EXECUTORS(EMU_DECLARE)
#undef EMU_DECLARE

// The head of an executor; `warp`, `instruction` and `mask` are its arguments.
#define EMU_EXECUTE(name)                                                                                              \
    void emu_execute_##name(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask)

enum emu_compare { // of setp, in instruction->immediate
    EMU_EQ,
    EMU_NE,
    EMU_LT,
    EMU_LE,
    EMU_GT,
    EMU_GE,
    EMU_EQU,
    EMU_NEU,
    EMU_LTU,
    EMU_LEU,
    EMU_GTU,
    EMU_GEU,
    EMU_NUM,
    EMU_NAN
};

#endif
