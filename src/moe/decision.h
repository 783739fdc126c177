// What is decided for a bucket of token counts: one value a choice. A new choice is a row of the enum, of the table in
// decision.c, and one use in the pipeline; keys, search, store and the command know none of them by name.
#ifndef MOEJIT_MOE_DECISION_H
#define MOEJIT_MOE_DECISION_H

#include "moe/tile.h"

enum mj_choice { // in the order in which they are searched
    MJ_CHOICE_GATE_UP_TILE,
    MJ_CHOICE_DOWN_TILE,
    MJ_CHOICE_ZEROING,
    MJ_NUM_CHOICES
};

enum mj_zeroing {
    MJ_ZEROING_AUXILIARY, // beside route and gate_up, on the executor's auxiliary stream
    MJ_ZEROING_IN_STREAM, // before route: no fork and no join
    MJ_NUM_ZEROINGS
};

struct mj_decision {
    int value[MJ_NUM_CHOICES]; // a tile's index; enum mj_zeroing
};

#define MJ_MAX_VALUES 16 // of a choice
#define MJ_DECISION_BYTES 256

const char *mj_choice_name(enum mj_choice choice);
// NULL where the choice has no such value.
const char *mj_choice_value_name(enum mj_choice choice, int value);

// What is done without tuning: mj_tile_choose's tile for both, zeroing on the auxiliary stream. forced_tile: -1, or the
// only one allowed.
struct mj_decision mj_decision_untuned(const struct mj_problem *problem, moejit_family family, int forced_tile,
                                       int num_tokens);

// The legal values of a choice, in the order of its table.
int mj_decision_values(const struct mj_problem *problem, moejit_family family, int forced_tile, enum mj_choice choice,
                       int values[MJ_MAX_VALUES]);

// Whether gate_up and down may route by themselves, gate_up zeroing the output: few pairs, and tiles that can.
bool mj_decision_can_fold(const struct mj_problem *problem, const struct mj_decision *decision, int num_tokens);

bool mj_decision_equal(const struct mj_decision *a, const struct mj_decision *b);

// "gate_up=64x8x64 down=64x16x64 zeroing=auxiliary"
void mj_decision_write(const struct mj_decision *decision, char text[MJ_DECISION_BYTES]);
// Starts from *decision, which keeps what the text does not name. False where a word is unknown or comes twice, or a
// tile is missing.
bool mj_decision_read(const char *text, struct mj_decision *decision);

#endif
