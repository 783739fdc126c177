// Branches, exits, barriers, fences (PTX ISA, "Control Flow Instructions" and others). The machine acts on the row's
// flow; what is executed here is what remains.
#include "warp.h"

EMU_EXECUTE(nothing) {
    (void)warp, (void)instruction, (void)mask;
}

EMU_EXECUTE(fence) {
    (void)instruction, (void)mask;
    emu_race_fence(warp);
}

EMU_EXECUTE(proxy_fence) {
    (void)instruction, (void)mask;
    emu_race_proxy_fence(warp);
    emu_mbarriers_announce(warp);
}

EMU_EXECUTE(announcing_fence) { // fence.mbarrier_init
    fence(warp, instruction, mask);
    emu_mbarriers_announce(warp);
}

EMU_EXECUTE(wait_for_grids) { // griddepcontrol.wait; nothing to wait for unless the launch is a dependent one
    const struct emu_launch *launch = warp->cta->launch;
    (void)instruction;
    if (launch->await == NULL) return;
    if (launch->await(launch->await_user)) {
        emu_race_await(warp, mask);
        return;
    }
    warp->cta->run->outcome = EMU_OUTCOME_LAUNCH_FAILED; // as did a grid before, which was reported
    warp->stop = true;
}

static bool check_register_count(struct emu_warp *warp, uint32_t lane, uint32_t count, bool grows) {
    uint32_t now = warp->max_registers;
    bool right = grows ? now <= count : now >= count;
    if (count % 8 != 0 || count < 24 || count > 256) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "setmaxnreg with %u: it takes a multiple of 8 from 24 to 256", count);
    } else if (now != 0 && !right) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "setmaxnreg.%s to %u registers, and the warp has %u",
                         grows ? "inc" : "dec", count, now);
    } else {
        return true;
    }
    return false;
}

// setmaxnreg: what one warp gives back to the block's pool another one may take, and waits for.
EMU_EXECUTE(register_count) {
    struct emu_cta *cta = warp->cta;
    uint32_t count = EMU_32(0)[0];
    bool grows = EMU_WORD_OF(OPERATION) == EMU_W_INC;
    if (!check_register_count(warp, (uint32_t)__builtin_ctz(mask), count, grows) || warp->max_registers == 0) return;
    if (grows && count - warp->max_registers > cta->free_registers) {
        warp->retry = true;
        return;
    }
    cta->free_registers += warp->max_registers - count; // of unsigned numbers: less where it grows
    warp->max_registers = count;
    cta->run->progress++;
}

EMU_EXECUTE(trap) {
    (void)instruction;
    emu_warp_finding(warp, (uint32_t)__builtin_ctz(mask), EMU_OUTCOME_LAUNCH_FAILED, "the kernel traps");
}

EMU_EXECUTE(assertion) {
    (void)instruction;
    emu_warp_finding(warp, (uint32_t)__builtin_ctz(mask), EMU_OUTCOME_LAUNCH_FAILED,
                     "an assertion of the kernel fails");
}

#define ROW .instruction_class = EMU_CLASS_CONTROL
const struct emu_row emu_row_branch = {"bra", "", "l", nothing, .flow = EMU_FLOW_BRANCH, ROW};
const struct emu_row emu_row_end = {"ret", "", "", nothing, .flow = EMU_FLOW_EXIT, ROW};
const struct emu_row emu_row_assert = {"call", "", "", assertion, ROW};

static const struct emu_row rows[] = {
    {"bra", "?uni", "l", nothing, .flow = EMU_FLOW_BRANCH, ROW},
    {"brx", "idx ?uni", "s32 l", nothing, .flow = EMU_FLOW_TABLE, ROW},
    {"ret", "?uni", "", nothing, .flow = EMU_FLOW_EXIT, ROW},
    {"exit", "", "", nothing, .flow = EMU_FLOW_EXIT, ROW},
    {"trap", "", "", trap, ROW},
    {"brkpt", "", "", trap, ROW},
    {"bar", "?cta sync", "s32 s32?", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"bar", "?cta arrive", "s32 s32", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"bar", "?cta red popc u32", "d32 s32 sp", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"bar", "?cta red popc u32", "d32 s32 s32 sp", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"bar", "?cta red and|or pred", "dp s32 sp", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"bar", "?cta red and|or pred", "dp s32 s32 sp", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"barrier", "?cta sync ?aligned", "s32 s32?", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"barrier", "?cta arrive ?aligned", "s32 s32", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"barrier", "?cta red popc ?aligned u32", "d32 s32 sp", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"barrier", "?cta red and|or ?aligned pred", "dp s32 sp", nothing, .flow = EMU_FLOW_BARRIER, ROW},
    {"membar", "cta|gl|sys", "", fence, ROW},
    {"fence", "?sc|acq_rel|acquire|release cta|cluster|gpu|sys", "", fence, ROW},
    {"fence", "proxy alias", "", nothing, ROW},
    {"fence", "proxy async ?shared::cta|shared::cluster", "", proxy_fence, ROW, .arch = 90},
    {"fence", "proxy async global", "", nothing, ROW, .arch = 90},
    {"fence", "proxy tensormap::generic acquire cta|cluster|gpu|sys", "a i32", nothing, ROW, .arch = 90},
    {"fence", "proxy tensormap::generic release cta|cluster|gpu|sys", "", nothing, ROW, .arch = 90},
    {"fence", "mbarrier_init release cluster", "", announcing_fence, ROW, .arch = 90},
    {"nanosleep", "u32", "s32", nothing, ROW},
    {"griddepcontrol", "launch_dependents", "", nothing, ROW, .arch = 90},
    {"griddepcontrol", "wait", "", wait_for_grids, ROW, .arch = 90},
    {"setmaxnreg", "inc|dec sync aligned u32", "i32", register_count, .flow = EMU_FLOW_WARP, ROW, .arch = 90,
     .arch_a = true},
    {"pmevent", "?mask", "i32", nothing, ROW},
};
EMU_ROWS(emu_rows_control, rows);
