#include "moe/bucket.h"

int mj_bucket_list(int max_num_tokens, int tokens[MJ_MAX_BUCKETS]) {
    int num = 0;
    for (int power = 1; num < MJ_MAX_BUCKETS - 1; power *= 2) {
        if (power >= max_num_tokens) break;
        tokens[num++] = power;
        if (power == 1 || power + power / 2 >= max_num_tokens) continue; // 1.5 is no count
        tokens[num++] = power + power / 2;
    }
    tokens[num++] = max_num_tokens;
    return num;
}
