#!/usr/bin/env bash
# moejit tune, and decisions as a file: what they say, keep and refuse, on the emulator. $1 the command, $2 the emulator
set -euo pipefail
moejit=$1
export MOEJIT_CUDA_LIBRARY=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset MOEJIT_CACHE_PACKS MOEJIT_CACHE_MAX_BYTES MOEJIT_KERNEL_SOURCES_DIR XDG_CACHE_HOME
# Images stay from run to run where the tests have a place for them.
cache=${MOEJIT_CACHE_DIR:-$folder}/tune-check
mkdir -p -m 700 "$cache"
export MOEJIT_CACHE_DIR=$cache
if [ -e "$cache/moejit.db" ]; then sqlite3 "$cache/moejit.db" 'DROP TABLE IF EXISTS tunings'; fi
. "$(dirname "$0")/assertions.sh"

layer=(--hidden 64 --intermediate 32 --experts 4 --top-k 2)

expect 0 '^Usage: moejit tune' tune --help
expect 2 'needs --model' tune
expect 2 '--routing is "odd", needs one of: uniform, zipf, histogram' tune "${layer[@]}" --routing odd
expect 2 '--zipf is "0", needs a number above 0' tune "${layer[@]}" --zipf 0
expect 2 '--budget is "0"' tune "${layer[@]}" --budget 0
expect 2 'No such file' tune "${layer[@]}" --histogram "$folder/none"
echo "1 2 3 4 five" >"$folder/words"
expect 2 'what follows number 4 is no number' tune "${layer[@]}" --histogram "$folder/words"
echo "1 2 3" >"$folder/three"
expect 2 'with 4 numbers, one an expert; there are 3' tune "${layer[@]}" --histogram "$folder/three"
expect 2 'with 4 numbers, one an expert; there are 0' tune "${layer[@]}" --routing histogram
expect 3 'no CUDA driver' tune "${layer[@]}" --cuda-library "$folder/none"

# A forced tile has one choice: how to zero. So this is quick even here.
short=("${layer[@]}" --max-tokens 1 --tile 64x8x64)
expect 0 '^1 token counts measured, 0 from the store, 0 left to the rule; .* digest [0-9a-f]{32}' tune "${short[@]}"
expect 0 '^ +1-1 +[0-9.]+ +[0-9.]+ .* tuned +gate_up=64x8x64 down=64x8x64 zeroing=' tune "${short[@]}" --redo
expect 0 '"first_tokens": 1, "last_tokens": 1, "decided": "store", "decision": "gate_up=64x8x64' tune "${short[@]}" --json
grep -o '"digest": "[0-9a-f]*"' "$folder/output" >"$folder/digest"
expect 0 '^2 runs, 1 buckets: in [01] of them' tune "${short[@]}" --repeat 2
expect 0 '"runs": 2, "buckets": 1, "buckets_that_differ": [01]' tune "${short[@]}" --repeat 2 --json
expect 0 '^tuned: ' bench "${layer[@]}" --tokens 1 --tile 64x8x64 --tuned --repeat 1

# Decisions move to another database, which then needs no measurement.
expect 0 '^decisions for 1 keys written, with [23] rows' cache export --decisions "$folder/d.json"
expect 0 '^decisions for 1 keys imported, 0 bad' cache import --decisions "$folder/d.json" --cache "$folder/other/moejit.db"
cp "$cache/moejit.db" "$folder/images.db"
MOEJIT_CACHE_DIR=$folder/other expect 0 '"tuned": 0, "stored": 1, "by_rule": 0' tune "${short[@]}" --json
expect 0 '"keys": 1, "rows": [23]' cache export --decisions "$folder/d2.json" --json --cache "$folder/other/moejit.db"
hold cmp "$folder/d.json" "$folder/d2.json"
sed 's/"chosen"/"timed"/' "$folder/d.json" >"$folder/none_chosen.json"
expect 1 '^decisions for 0 keys imported, 1 bad' cache import --decisions "$folder/none_chosen.json" --cache "$folder/other/moejit.db"
sed 's/"us": [0-9.]*/"us": "fast"/' "$folder/d.json" >"$folder/words.json"
expect 1 '1 bad' cache import --decisions "$folder/words.json" --cache "$folder/other/moejit.db"
sed 's/decisions 1/decisions 9/' "$folder/d.json" >"$folder/newer.json"
expect 3 'needs "format": "moejit decisions 1"' cache import --decisions "$folder/newer.json" --cache "$folder/other/moejit.db"
head -c 200 "$folder/d.json" >"$folder/half.json"
expect 3 'half.json: line [0-9]+:' cache import --decisions "$folder/half.json" --cache "$folder/other/moejit.db"
expect 3 'cannot be written' cache export --decisions "$folder/none/d.json"
expect 2 'import needs the packs' cache import --decisions "$folder/d.json" "$folder/a.mjpack"
expect 2 'export needs either' cache export --decisions "$folder/d.json" "$folder/a.mjpack"

# Two processes at once: one measures, the other takes over.
sqlite3 "$cache/moejit.db" 'DROP TABLE tunings'
"$moejit" tune "${short[@]}" --json >"$folder/first" 2>/dev/null &
"$moejit" tune "${short[@]}" --json >"$folder/second" 2>/dev/null
wait $!
hold test "$(cat "$folder/first" "$folder/second" | grep -c '"tuned": 1, "stored": 0')" = 1
hold test "$(cat "$folder/first" "$folder/second" | grep -c '"tuned": 0, "stored": 1')" = 1
hold test "$(grep -ho '"digest": "[0-9a-f]*"' "$folder/first" "$folder/second" | sort -u | wc -l)" = 1
exit $bad
