#include "sass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sass_text.h"

// ---- Control flow

static bool starts(const struct sass_instruction *instruction, const char *name) {
    size_t length = strlen(name);
    return strncmp(instruction->opcode, name, length) == 0 && strchr(".", instruction->opcode[length]) != NULL;
}

static bool is_jump(const struct sass_instruction *instruction) {
    return instruction->target >= 0 && (starts(instruction, "BRA") || starts(instruction, "WARPSYNC"));
}

// BRA.DIV and BRA.U.ANY have conditions that are not predicates.
static bool falls_through(const struct sass_instruction *instruction) {
    if (instruction->guarded) return true;
    return strcmp(instruction->opcode, "BRA") != 0 && !starts(instruction, "EXIT") && !starts(instruction, "RET");
}

struct flow {
    const struct sass_text *code;
    bool *reached;
    int *stack;
};

// What is reached from the kernel's entry without entering `avoided`.
static void reach(struct flow *flow, int avoided) {
    const struct sass_text *code = flow->code;
    int top = 0;
    memset(flow->reached, 0, (size_t)code->count);
    if (avoided == 0) return;
    flow->reached[0] = true;
    flow->stack[top++] = 0;
    while (top > 0) {
        int at = flow->stack[--top];
        int next[2] = {falls_through(&code->list[at]) ? at + 1 : -1,
                       is_jump(&code->list[at]) ? code->list[at].target : -1};
        for (int i = 0; i < 2; i++) {
            if (next[i] < 0 || next[i] >= code->count || next[i] == avoided || flow->reached[next[i]]) continue;
            flow->reached[next[i]] = true;
            flow->stack[top++] = next[i];
        }
    }
}

// A loop's back edge: a jump backward to what every way to the jump has passed. (Jumps out of code that stands aside,
// such as the spin of a wait, are none.)
static bool is_back_edge(struct flow *flow, int at) {
    const struct sass_instruction *jump = &flow->code->list[at];
    if (!is_jump(jump) || jump->target >= at || strstr(jump->opcode, "DIV") != NULL) return false;
    reach(flow, jump->target);
    return !flow->reached[at];
}

struct range {
    int first, last;
};

static bool inside(const struct range *inner, const struct range *outer) {
    return inner->first >= outer->first && inner->last <= outer->last &&
           (inner->first != outer->first || inner->last != outer->last);
}

static int find_loops(struct flow *flow, struct range *loops) {
    int count = 0;
    for (int i = 0; i < flow->code->count; i++) {
        if (is_back_edge(flow, i)) loops[count++] = (struct range){flow->code->list[i].target, i};
    }
    return count;
}

// ---- Counting

enum copy_kind { COPIES_BULK, COPIES_PIECES, COPIES_NOTHING };

// 128 bytes of shared memory each: a lane's bytes, or ldmatrix's 8 x 8 matrices.
static int wavefronts(const struct sass_instruction *instruction) {
    const char *opcode = instruction->opcode;
    bool matrix = starts(instruction, "LDSM") || starts(instruction, "STSM");
    if (strstr(opcode, matrix ? ".4" : ".128") != NULL) return 4;
    if (strstr(opcode, matrix ? ".2" : ".64") != NULL) return 2;
    return 1;
}

// A warp's share of the multiply-adds of one instruction; width: wgmma's tokens.
static int products_of(const struct sass_instruction *instruction, int *width) {
    int m = 0, n = 0, k = 0;
    if (starts(instruction, "HGMMA") && sscanf(instruction->opcode, "HGMMA.%dx%dx%d", &m, &n, &k) == 3) {
        *width = n;
        return m * n * k / 4;
    }
    if (sscanf(instruction->opcode, "HMMA.%d", &k) == 1) return k == 16816 ? 16 * 8 * 16 : 16 * 8 * 8;
    if (sscanf(instruction->opcode, "OMMA.SF.%d", &k) == 1) return k == 16864 ? 16 * 8 * 64 : 0;
    return 0;
}

// How many m64 row blocks a warpgroup's accumulators hold, and with how many wgmmas an A operand is multiplied: 256
// tokens may be two of 128. Told by the registers: each pair of A and accumulator is one product.
struct products {
    bool accumulators[256], factors[256], pairs[256][256];
};

static int count_marks(const bool *marks, size_t count) {
    int sum = 0;
    for (size_t i = 0; i < count; i++) sum += marks[i];
    return sum;
}

static void note_product(const struct sass_instruction *instruction, struct products *products) {
    int accumulator = instruction->registers[0], factor = instruction->registers[1];
    if (accumulator < 0 || accumulator > 255 || factor < 0 || factor > 255) return;
    products->accumulators[accumulator] = true;
    products->factors[factor] = true;
    products->pairs[factor][accumulator] = true;
}

static void settle_products(const struct products *products, struct mj_loop *loop) {
    int accumulators = count_marks(products->accumulators, 256), factors = count_marks(products->factors, 256);
    int pairs = count_marks(products->pairs[0], sizeof(products->pairs));
    int each = factors > 0 && pairs > factors ? pairs / factors : 1; // wgmmas that share an A
    loop->width *= each;
    loop->row_blocks = accumulators > each ? accumulators / each : 1;
}

static bool is_narrow_load(const struct sass_instruction *instruction) {
    bool load = starts(instruction, "LDG") || starts(instruction, "LDGSTS") || starts(instruction, "LD");
    return load && strstr(instruction->opcode, ".128") == NULL;
}

static void note_unknown(const struct sass_text *code, const struct range *range, struct sass_loops *loops) {
    enum mj_pipe pipe;
    for (int i = range->first; i <= range->last; i++) {
        const char *opcode = code->list[i].opcode;
        size_t used = strlen(loops->unknown);
        if (sass_pipe(opcode, &pipe) || strstr(loops->unknown, opcode) != NULL) continue;
        snprintf(loops->unknown + used, sizeof(loops->unknown) - used, "%s%s", used > 0 ? ", " : "", opcode);
    }
}

static void count_loop(const struct sass_text *code, const struct range *range, struct mj_loop *loop) {
    struct products products;
    memset(&products, 0, sizeof(products));
    for (int i = range->first; i <= range->last; i++) {
        const struct sass_instruction *instruction = &code->list[i];
        enum mj_pipe pipe;
        if (!sass_pipe(instruction->opcode, &pipe) || instruction->off) pipe = MJ_PIPE_CONTROL;
        loop->instructions[pipe]++;
        if (pipe == MJ_PIPE_SHARED) loop->shared_wavefronts += wavefronts(instruction);
        if (pipe == MJ_PIPE_TENSOR) loop->products += products_of(instruction, &loop->width);
        if (starts(instruction, "HGMMA")) note_product(instruction, &products);
        if (is_narrow_load(instruction)) loop->narrow_loads++;
        if (strstr(instruction->opcode, "TRYWAIT") != NULL) loop->waits++;
    }
    settle_products(&products, loop);
}

static enum copy_kind copies(const struct sass_text *code, const struct range *range) {
    enum copy_kind kind = COPIES_NOTHING;
    for (int i = range->first; i <= range->last; i++) {
        const struct sass_instruction *instruction = &code->list[i];
        if (starts(instruction, "LDGSTS")) kind = COPIES_PIECES;
        if (starts(instruction, "UBLKCP") || starts(instruction, "UTMALDG")) return COPIES_BULK;
    }
    return kind;
}

// ---- The loops that matter

struct found {
    struct range range;
    struct mj_loop loop;
    enum copy_kind copies;
};

static bool multiplies(const struct found *found) {
    return found->loop.products > 0;
}

// The loop of warps that only copy: it waits for a stage to be free.
static bool only_copies(const struct found *found) {
    return !multiplies(found) && found->copies != COPIES_NOTHING && found->loop.waits > 0;
}

static bool has_inner(const struct found *list, int count, int at, bool (*is)(const struct found *)) {
    for (int i = 0; i < count; i++) {
        if (i != at && is(&list[i]) && inside(&list[i].range, &list[at].range)) return true;
    }
    return false;
}

static int all_instructions(const struct mj_loop *loop) {
    int sum = 0;
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) sum += loop->instructions[pipe];
    return sum;
}

// Of two loops of one width the one with more products a pass; widths ascending.
static void add_multiplying(struct sass_loops *loops, const struct mj_loop *loop) {
    int at = 0;
    while (at < loops->num_multiplying && loops->multiplying[at].width < loop->width) at++;
    if (at < loops->num_multiplying && loops->multiplying[at].width == loop->width) {
        if (loop->products > loops->multiplying[at].products) loops->multiplying[at] = *loop;
        return;
    }
    if (loops->num_multiplying == MJ_LOOP_COST_MAX_WIDTHS) return;
    memmove(&loops->multiplying[at + 1], &loops->multiplying[at],
            (size_t)(loops->num_multiplying - at) * sizeof(loops->multiplying[0]));
    loops->multiplying[at] = *loop;
    loops->num_multiplying++;
}

static void keep_longest(struct mj_loop *kept, const struct mj_loop *loop) {
    if (all_instructions(loop) > all_instructions(kept)) *kept = *loop;
}

static void choose(const struct sass_text *code, const struct found *list, int count, struct sass_loops *loops) {
    struct mj_loop by_kind[COPIES_NOTHING] = {0}; // the warps that copy weights do it in bulk
    for (int i = 0; i < count; i++) {
        const struct mj_loop *loop = &list[i].loop;
        bool multiplying = multiplies(&list[i]) && !has_inner(list, count, i, multiplies);
        bool copying = only_copies(&list[i]) && !has_inner(list, count, i, only_copies);
        if (multiplying) add_multiplying(loops, loop);
        if (multiplying || copying) note_unknown(code, &list[i].range, loops);
        if (copying) keep_longest(&by_kind[list[i].copies], loop);
    }
    for (int kind = 0; kind < COPIES_NOTHING; kind++) {
        if (all_instructions(&by_kind[kind]) > 0) loops->copying.loops[loops->copying.count++] = by_kind[kind];
    }
}

static bool analyse(const struct sass_text *code, struct sass_loops *loops) {
    size_t count = (size_t)code->count + 1;
    struct flow flow = {code, calloc(count, sizeof(bool)), calloc(count, sizeof(int))};
    struct range *ranges = calloc(count, sizeof(*ranges));
    struct found *found = NULL;
    bool good = flow.reached != NULL && flow.stack != NULL && ranges != NULL;
    int num = good ? find_loops(&flow, ranges) : 0;
    if (good) found = calloc((size_t)num + 1, sizeof(*found));
    good = good && found != NULL;
    for (int i = 0; good && i < num; i++) {
        found[i].range = ranges[i];
        count_loop(code, &ranges[i], &found[i].loop);
        found[i].copies = copies(code, &ranges[i]);
    }
    if (good) choose(code, found, num, loops);
    free(flow.reached);
    free(flow.stack);
    free(ranges);
    free(found);
    return good;
}

bool sass_read(const char *text, struct sass_loops *loops, char *message, size_t message_bytes) {
    struct sass_text code;
    memset(loops, 0, sizeof(*loops));
    bool good = sass_text_read(text, &code) && analyse(&code, loops);
    if (!good) {
        snprintf(message, message_bytes, "no memory for the disassembly");
    } else if (loops->num_multiplying == 0) {
        good = false;
        snprintf(message, message_bytes,
                 "nvdisasm printed %d instructions, and no loop among them has a product (HGMMA, HMMA, OMMA)",
                 code.count);
    }
    sass_text_free(&code);
    return good;
}
