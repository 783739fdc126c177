#!/usr/bin/env bash
# On a machine with a GPU and no internet: takes the carried build (build/bin), runs the numerics of every kernel, the real
# models and the sanitizer, and prints a short table. Everything it writes goes to $OUT (default build/gpu).
#
#     tools/gpu_check.sh [numerics] [models] [sanitizer] [tune] [tune-bench]      the first three if none is given
#
# tune        how long tuning takes with an empty cache and with stored decisions; ten tunings from scratch: how many decisions
#             differ, and what that costs. About four minutes; REPEATS=5 for fewer
# tune-bench  layers with tuned decisions beside the same by the rule. About five minutes
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-build/gpu}
mkdir -p "$OUT"
export MOEJIT_CACHE_DIR="$OUT/cache"
mkdir -p -m 700 "$MOEJIT_CACHE_DIR"
bin=build/bin
parts=${*:-numerics models sanitizer}
passed=0
failed=0
part() {
    local name="$1" start=$SECONDS
    shift
    if timeout 280 "$@" >"$OUT/$name.log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok   %-28s %3d s  %s\n' "$name" $((SECONDS - start)) "$(tail -1 "$OUT/$name.log" | cut -c1-150)"
    else
        failed=$((failed + 1))
        printf 'BAD  %-28s %3d s\n' "$name" $((SECONDS - start))
        tail -5 "$OUT/$name.log"
    fi
}
r1="--model deepseek-r1 --local-experts 0:32"
fresh_cache() {
    rm -rf "$OUT/cache-tune"
    mkdir -p -m 700 "$OUT/cache-tune"
    export MOEJIT_CACHE_DIR="$OUT/cache-tune"
}
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit --format=csv,noheader
for p in $parts; do
    case "$p" in
    numerics)
        part kernels $bin/test_kernels 0 1 digests
        part kernels-hopper $bin/test_kernels 0 1 digests hopper
        grep '^case .* digest' "$OUT/kernels.log" >"$OUT/digests_sm_90a.txt"
        part kernel-all $bin/moejit run --kernel all --hidden 1152 --intermediate 832 --experts 16 --top-k 6 --tokens 97 --check-rows 24
        ;;
    models)
        part modelopt-layer $bin/moejit run --tensors tests/data/qwen3_moe_layer --sum deterministic --output-dtype f32
        for model in qwen3-30b-a3b gpt-oss-120b nemotron3-nano qwen3-235b-a22b llama4-scout mixtral-8x7b; do
            part "$model" $bin/moejit run --model $model --tokens 64 --check-rows 6
        done
        part deepseek-r1-rank $bin/moejit run --model deepseek-r1 --local-experts 32:32 --tokens 128 --check-rows 6 --activation-format nvfp4 --graph
        part kimi-k2-rank $bin/moejit run --model kimi-k2 --local-experts 0:48 --tokens 300 --check-rows 4 --sum deterministic
        ;;
    sanitizer)
        for tool in memcheck racecheck synccheck; do
            part "$tool" compute-sanitizer --tool $tool --error-exitcode 9 $bin/test_kernels 3 17
        done
        ;;
    tune)
        fresh_cache
        part tune-empty-cache $bin/moejit tune $r1 --budget 120
        part tune-stored $bin/moejit tune $r1
        part tune-zipf $bin/moejit tune $r1 --zipf 1 --max-tokens 1024 --budget 120
        part tune-portable $bin/moejit tune $r1 --family portable --max-tokens 1024 --budget 120
        part tune-deterministic $bin/moejit tune $r1 --sum deterministic --max-tokens 1024 --budget 120
        for model in gpt-oss-120b mixtral-8x7b qwen3-30b-a3b; do
            part "tune-$model" $bin/moejit tune --model $model --max-tokens 4096 --budget 120
        done
        part tune-repeat-r1 $bin/moejit tune $r1 --repeat "${REPEATS:-10}" --budget 120
        part tune-repeat-qwen3 $bin/moejit tune --model qwen3-30b-a3b --max-tokens 4096 --repeat "${REPEATS:-10}" --budget 120
        for log in empty-cache zipf gpt-oss-120b mixtral-8x7b qwen3-30b-a3b repeat-r1 repeat-qwen3; do
            echo "--- $log"
            cut -c1-160 "$OUT/tune-$log.log"
        done
        ;;
    tune-bench)
        fresh_cache
        while IFS='|' read -r name layer tokens; do
            part "rule-$name" $bin/moejit bench $layer --tokens "$tokens" --untuned
            part "tuned-$name" $bin/moejit bench $layer --tokens "$tokens" --tuned
            echo "--- $name: by the rule, then tuned"
            grep -E '^ +(tokens|[0-9]+) ' "$OUT/rule-$name.log"
            grep -E '^ +[0-9]+ ' "$OUT/tuned-$name.log"
        done <<LAYERS
deepseek-r1|$r1|1,4,16,64,256,1024,4096,8192
qwen3-30b-a3b|--model qwen3-30b-a3b|1,4,16,64,256,1024,4096
gpt-oss-120b|--model gpt-oss-120b|1,16,64,256,1024
mixtral-8x7b|--model mixtral-8x7b|1,16,256,4096
LAYERS
        ;;
    *) echo "tools/gpu_check.sh: \"$p\" is no part; needs numerics, models, sanitizer, tune or tune-bench" >&2; exit 2 ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
