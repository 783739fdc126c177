// The search on recorded and constructed timing tables (tests/data/timings): each gives the plan that the rules ask
// for.
#include "../cmocka_all.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "moe/model_table.h"
#include "moe/routing.h"
#include "moe/search.h"

#define NUM_TABLES 22

struct table {
    char name[64];
    struct mj_problem problem;
    moejit_family family;
    double us[MJ_NUM_CHOICES][MJ_MAX_VALUES]; // 0: no row
    bool wrong[MJ_NUM_CHOICES][MJ_MAX_VALUES];
    double drift, drop, noise, outlier;
    int drop_at, outlier_every, stop_at;
    int slow_choice, slow_value, slow_every; // outlier_of
    double slow;
    int num_tokens;
    int num_samples, num_slow; // taken so far
    struct mj_random random;
};

static int find_choice(const char *name) {
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++) {
        if (strcmp(mj_choice_name((enum mj_choice)choice), name) == 0) return choice;
    }
    fail_msg("no choice is called %s", name);
    return 0;
}

static int find_value(int choice, const char *name) {
    const char *known;
    for (int v = 0; (known = mj_choice_value_name((enum mj_choice)choice, v)) != NULL; v++) {
        if (strcmp(known, name) == 0) return v;
    }
    fail_msg("%s has no value %s", mj_choice_name((enum mj_choice)choice), name);
    return 0;
}

static bool sample(void *user, const struct mj_decision *decision, double *us) {
    struct table *table = user;
    int n = ++table->num_samples;
    if (table->stop_at > 0 && n > table->stop_at) return false;
    *us = 0;
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++) {
        double part = table->us[choice][decision->value[choice]];
        if (part == 0 && choice != MJ_CHOICE_ZEROING) fail_msg("%s: a tile was timed that must not be", table->name);
        *us += part;
    }
    *us *= 1 + table->drift * n;
    if (table->drop_at > 0 && n >= table->drop_at) *us *= table->drop;
    if (table->outlier_every > 0 && n % table->outlier_every == 0) *us *= table->outlier;
    if (table->slow_every > 0 && decision->value[table->slow_choice] == table->slow_value &&
        ++table->num_slow % table->slow_every == 0) {
        *us *= table->slow;
    }
    *us *= 1 + table->noise * (2 * mj_random_uniform(&table->random) - 1);
    return true;
}

static enum mj_verdict check(void *user, enum mj_choice choice, const struct mj_decision *decision,
                             char reason[MJ_REASON_BYTES]) {
    const struct table *table = user;
    if (!table->wrong[choice][decision->value[choice]]) return MJ_VERDICT_GOOD;
    snprintf(reason, MJ_REASON_BYTES, "wrong on purpose");
    return MJ_VERDICT_REFUSED;
}

static const struct mj_device_figures h100 = {132, 1.98, 3352, 4096, 233472, 0};

static void check_plan(struct table *table, const char *plan) {
    struct mj_search search;
    static struct mj_found found;
    static struct mj_routing routing;
    const moejit_layer *layer = &table->problem.layer;
    size_t pairs = (size_t)table->num_tokens * (size_t)layer->top_k;
    int32_t *ids = malloc(pairs * sizeof(*ids));
    int expert_tokens[MJ_MAX_EXPERTS] = {0};
    char text[MJ_DECISION_BYTES];
    assert_non_null(ids);
    mj_routing_uniform(&routing, layer);
    mj_routing_draw(&routing, table->num_tokens, 0, ids);
    for (size_t i = 0; i < pairs; i++) {
        if (ids[i] < layer->num_local_experts) expert_tokens[ids[i]]++;
    }
    free(ids);
    table->num_samples = table->num_slow = 0;
    table->random.state = 1;
    mj_search_describe(&search, &table->problem, table->family, -1, table->num_tokens, &h100, expert_tokens);
    search.check = check;
    search.sample = sample;
    search.user = table;
    enum mj_search_end end = mj_search_run(&search, &found);
    snprintf(text, sizeof(text), "%s", end == MJ_SEARCH_STOPPED ? "stopped" : "none");
    if (end == MJ_SEARCH_FOUND) mj_decision_write(&found.decision, text);
    if (strcmp(text, plan) != 0)
        fail_msg("%s, %d tokens: %s, should be %s", table->name, table->num_tokens, text, plan);
    for (int i = 0; i < found.num_searched; i++) {
        if (found.searched[i].state == MJ_SEARCHED_REFUSED)
            assert_string_equal(found.searched[i].reason, "wrong on purpose");
    }
}

static void read_model(struct table *table, const char *rest, bool deterministic) {
    char name[64];
    int local = 0;
    moejit_layer layer;
    struct mj_error error;
    int fields = sscanf(rest, "%63s %d", name, &local);
    assert_true(fields >= 1 && mj_model_find(name) != NULL);
    mj_model_layer(mj_model_find(name), &layer);
    if (local > 0) layer.num_local_experts = local;
    if (deterministic) layer.sum = MOEJIT_SUM_DETERMINISTIC;
    assert_int_equal(mj_problem_create(&table->problem, &layer, &error), MOEJIT_STATUS_OK);
}

// "gate_up TILE US" and so on.
static void read_row(struct table *table, const char *word, const char *rest) {
    char value[64];
    double us;
    int choice = find_choice(word);
    assert_int_equal(sscanf(rest, "%63s %lf", value, &us), 2);
    table->us[choice][find_value(choice, value)] = us;
}

static void read_line(struct table *table, char *model, const char *line, int *num_plans) {
    char word[64] = "", rest[200] = "", choice[64], value[64];
    if (sscanf(line, "%63s %199[^\n]", word, rest) < 1 || word[0] == '#') return;
    if (strcmp(word, "model") == 0) {
        strcpy(model, rest);
        read_model(table, rest, false);
    } else if (strcmp(word, "family") == 0) {
        table->family = strcmp(rest, "hopper") == 0 ? MOEJIT_FAMILY_HOPPER : MOEJIT_FAMILY_PORTABLE;
    } else if (strcmp(word, "sum") == 0) {
        read_model(table, model, true);
    } else if (strcmp(word, "tokens") == 0) {
        table->num_tokens = atoi(rest);
        memset(table->us[MJ_CHOICE_GATE_UP_TILE], 0, sizeof(table->us[0]));
        memset(table->us[MJ_CHOICE_DOWN_TILE], 0, sizeof(table->us[0]));
    } else if (strcmp(word, "plan") == 0) {
        check_plan(table, rest);
        ++*num_plans;
    } else if (strcmp(word, "wrong") == 0) {
        assert_int_equal(sscanf(rest, "%63s %63s", choice, value), 2);
        table->wrong[find_choice(choice)][find_value(find_choice(choice), value)] = true;
    } else if (strcmp(word, "drift") == 0) {
        table->drift = atof(rest);
    } else if (strcmp(word, "noise") == 0) {
        table->noise = atof(rest);
    } else if (strcmp(word, "drop") == 0) {
        assert_int_equal(sscanf(rest, "%d %lf", &table->drop_at, &table->drop), 2);
    } else if (strcmp(word, "outlier") == 0) {
        assert_int_equal(sscanf(rest, "%d %lf", &table->outlier_every, &table->outlier), 2);
    } else if (strcmp(word, "outlier_of") == 0) {
        assert_int_equal(sscanf(rest, "%63s %63s %d %lf", choice, value, &table->slow_every, &table->slow), 4);
        table->slow_choice = find_choice(choice);
        table->slow_value = find_value(table->slow_choice, value);
    } else if (strcmp(word, "stop") == 0) {
        table->stop_at = atoi(rest);
    } else {
        read_row(table, word, rest);
    }
}

static void every_table_gives_its_plan(void **state) {
    glob_t files;
    (void)state;
    assert_int_equal(glob(TEST_DATA "/timings/*.txt", 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, NUM_TABLES);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct table table = {0};
        char line[256], model[200] = "";
        int num_plans = 0;
        FILE *file = fopen(files.gl_pathv[i], "r");
        assert_non_null(file);
        snprintf(table.name, sizeof(table.name), "%s", strrchr(files.gl_pathv[i], '/') + 1);
        while (fgets(line, sizeof(line), file) != NULL) read_line(&table, model, line, &num_plans);
        fclose(file);
        assert_true(num_plans > 0);
    }
    globfree(&files);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_table_gives_its_plan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
