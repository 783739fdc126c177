#include "moe/decision.h"

#include <stdio.h>
#include <string.h>

static const char *const zeroing_names[MJ_NUM_ZEROINGS] = {"auxiliary", "in-stream"};

static const char *tile_name(int value) {
    return moejit_tile_name(value);
}

static const char *zeroing_name(int value) {
    return value >= 0 && value < MJ_NUM_ZEROINGS ? zeroing_names[value] : NULL;
}

// Tiles have to be named: another build's default may be another. What is not a tile has a default that stays.
static const struct {
    const char *name;
    const char *(*value_name)(int value);
    bool is_tile;
} choices[MJ_NUM_CHOICES] = {
    [MJ_CHOICE_GATE_UP_TILE] = {"gate_up", tile_name, true},
    [MJ_CHOICE_DOWN_TILE] = {"down", tile_name, true},
    [MJ_CHOICE_ZEROING] = {"zeroing", zeroing_name, false},
};

const char *mj_choice_name(enum mj_choice choice) {
    return choices[choice].name;
}

const char *mj_choice_value_name(enum mj_choice choice, int value) {
    return choices[choice].value_name(value);
}

struct mj_decision mj_decision_untuned(const struct mj_problem *problem, moejit_family family, int forced_tile,
                                       int num_tokens) {
    int tile = forced_tile >= 0 ? forced_tile : mj_tile_choose(problem, family, num_tokens);
    struct mj_decision decision = {
        {[MJ_CHOICE_GATE_UP_TILE] = tile, [MJ_CHOICE_DOWN_TILE] = tile, [MJ_CHOICE_ZEROING] = MJ_ZEROING_AUXILIARY}};
    return decision;
}

static int list_tiles(moejit_family family, int forced_tile, int values[MJ_MAX_VALUES]) {
    int num = 0;
    for (int tile = 0; tile < MJ_NUM_TILES && num < MJ_MAX_VALUES; tile++) {
        bool legal = forced_tile >= 0 ? tile == forced_tile : mj_tiles[tile].family == family;
        if (legal) values[num++] = tile;
    }
    return num;
}

int mj_decision_values(const struct mj_problem *problem, moejit_family family, int forced_tile, enum mj_choice choice,
                       int values[MJ_MAX_VALUES]) {
    if (choices[choice].is_tile) return list_tiles(family, forced_tile, values);
    int num = 0;
    // Only the atomic sum adds into zeroed rows.
    int last = problem->sum == MJ_SUM_ATOMIC ? MJ_NUM_ZEROINGS - 1 : 0;
    for (int value = 0; value <= last; value++) values[num++] = value;
    return num;
}

bool mj_decision_can_fold(const struct mj_problem *problem, const struct mj_decision *decision, int num_tokens) {
    return (long long)num_tokens * problem->layer.top_k <= MJ_FOLDED_PAIRS &&
           mj_tile_uses_mma(&mj_tiles[decision->value[MJ_CHOICE_GATE_UP_TILE]]) &&
           mj_tile_uses_mma(&mj_tiles[decision->value[MJ_CHOICE_DOWN_TILE]]);
}

bool mj_decision_equal(const struct mj_decision *a, const struct mj_decision *b) {
    return memcmp(a->value, b->value, sizeof(a->value)) == 0;
}

void mj_decision_write(const struct mj_decision *decision, char text[MJ_DECISION_BYTES]) {
    size_t used = 0;
    for (int i = 0; i < MJ_NUM_CHOICES && used < MJ_DECISION_BYTES; i++) {
        const char *value = choices[i].value_name(decision->value[i]);
        used += (size_t)snprintf(text + used, MJ_DECISION_BYTES - used, "%s%s=%s", i > 0 ? " " : "", choices[i].name,
                                 value != NULL ? value : "?");
    }
}

static bool read_word(const char *word, size_t length, struct mj_decision *decision, bool *given) {
    for (int i = 0; i < MJ_NUM_CHOICES; i++) {
        size_t name = strlen(choices[i].name);
        if (length <= name || strncmp(word, choices[i].name, name) != 0 || word[name] != '=') continue;
        const char *value = word + name + 1, *known;
        for (int v = 0; (known = choices[i].value_name(v)) != NULL; v++) {
            if (strlen(known) != length - name - 1 || strncmp(value, known, strlen(known)) != 0) continue;
            bool first = !given[i];
            decision->value[i] = v;
            given[i] = true;
            return first;
        }
        return false;
    }
    return false;
}

bool mj_decision_read(const char *text, struct mj_decision *decision) {
    bool given[MJ_NUM_CHOICES] = {false};
    struct mj_decision read = *decision;
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        if (!read_word(text, length, &read, given)) return false;
        text += length + (text[length] == ' ');
    }
    for (int i = 0; i < MJ_NUM_CHOICES; i++) {
        if (choices[i].is_tile && !given[i]) return false;
    }
    *decision = read;
    return true;
}
