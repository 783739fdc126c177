#!/usr/bin/env bash
# On a machine with a GPU and no internet: takes the carried build (build/bin), runs the numerics of every kernel, the real
# models and the sanitizer, and prints a short table. Everything it writes goes to $OUT (default build/gpu).
#
#     tools/gpu_check.sh [numerics] [models] [sanitizer]      all parts if none is given
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
        part checkpoints tests/checks/checkpoints_agree.sh $bin/moejit tests/data/checkpoints
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
    *) echo "tools/gpu_check.sh: \"$p\" is no part; needs numerics, models or sanitizer" >&2; exit 2 ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
