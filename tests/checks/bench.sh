#!/usr/bin/env bash
# What `moejit bench` says and how it exits, on the emulator, whose times mean nothing: each table is there, with each of
# its rows.
# $1 the command, $2 the emulator
set -euo pipefail
. "$(dirname "$0")/expect.sh"

bench=(bench "${small[@]}" --cuda-library "$emulator")
expect 0 '^streaming read of 2 GiB +[0-9.]+ TB/s' "${bench[@]}" --ceilings
expect 0 '"copy_tb_per_s": \{"rate": ' "${bench[@]}" --ceilings --json
expect 0 '; hopper family, deterministic sum; ' "${bench[@]}" --tokens 1,3 --family all --sum atomic,deterministic --check
also '; portable family, atomic sum; '
also '^ +3 .* ok hopper: error '
also '^ +1 .* ok portable: error 0\.00e\+00 of all, .* 0 elements differ$'
expect 0 '"model": "mixtral-8x7b", "family": "portable", "sum": "batch-invariant", "tokens": 2, ' "${bench[@]}" \
    --model mixtral-8x7b --sum batch-invariant --family portable --tokens 2 --activation-format nvfp4 --json
also '"layer": \{"us": [0-9.]+, '
expect 0 '^ +2 +32768 ' "${bench[@]}" --zeroing --tokens 2
expect 0 '"max_num_tokens": 4096, ' "${bench[@]}" --zeroing --tokens 2 --json
expect 0 '^ +2  auxiliary stream, fork and join +[0-9.]+ +[0-9.]+$' "${bench[@]}" --overlap --tokens 2
expect 0 '"zeroing": "in_stream", "eager_us": ' "${bench[@]}" --overlap --tokens 2 --json
expect 0 '^ +2 atomic +2 +[0-9.]+ ' "${bench[@]}" --host --tokens 2
expect 0 '"sum": "deterministic", "tokens": 2, "launches": 3, ' "${bench[@]}" --host --tokens 2 --sum deterministic --json
expect 0 '^layer: H 256, .* hopper family, batch-invariant sum' "${bench[@]}" --eager --no-ceilings --sum batch-invariant --tokens 1
expect 0 'no compute ceiling: .*none\.so' "${bench[@]}" --ceilings --cublas-library "$folder/none.so"
expect 2 '--tokens is "0", needs a whole number from 1' "${bench[@]}" --tokens 4,0
expect 2 'a list is empty' "${bench[@]}" --tokens ''
expect 2 '--sum is "fast", needs one of: ' "${bench[@]}" --sum atomic,fast
expect 2 '--family is "volta", needs one of: auto, portable, hopper, fp4, all' "${bench[@]}" --family volta
expect 2 '--max-tile-ctas is "9", needs a whole number from 0 to 8' "${bench[@]}" --max-tile-ctas 9
expect 2 '--seconds is "0", needs a number above 0' "${bench[@]}" --seconds 0
expect 2 '--model is "gpt-9", which is not one of the list' bench --model mixtral-8x7b,gpt-9
expect 2 'needs --model, --checkpoint, --config, or all of' bench --hidden 256
export MOEJIT_EMULATOR_ARCH=sm_80 # where one family runs, the other sum is what it is compared with
expect 3 'the hopper family does not run on sm_80' "${bench[@]}" --family hopper --tokens 1
expect 0 '^ +1 .* ok deterministic: error ' "${bench[@]}" --family all --tokens 1 --check
unset MOEJIT_EMULATOR_ARCH
# What the tables of docs/benchmarks.md are made with.
"$moejit" "${bench[@]}" --tokens 1,2 --json >"$folder/rows" 2>/dev/null
python3 "$(dirname "$0")/../../tools/bench_table.py" "$folder/rows" >"$folder/output"
also '^layer: H 256, I 128, 4 experts here, top 2; hopper family, atomic sum$'
also '^\| 2 \| 0\.[0-9] \| '
exit $bad
