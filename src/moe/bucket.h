// Buckets of token counts: what is decided for a bucket holds for every count in it.
#ifndef MOEJIT_MOE_BUCKET_H
#define MOEJIT_MOE_BUCKET_H

#define MJ_MAX_BUCKETS 32 // for MJ_MAX_TOKENS

// The largest count of each bucket, ascending: powers of two and one and a half times those, and at last
// max_num_tokens. Returns how many.
int mj_bucket_list(int max_num_tokens, int tokens[MJ_MAX_BUCKETS]);

#endif
