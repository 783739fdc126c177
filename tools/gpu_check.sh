#!/usr/bin/env bash
# On a machine with a GPU, which may have no internet and no packages: runs what only a GPU can judge, with the build that was
# carried there (build/, after `tools/gpu_check.sh carry` where it was built). Each part takes at most ten minutes, prints a
# line a check and last "N passed, N failed". Logs and figures go to $OUT (default build/gpu).
#
#     tools/gpu_check.sh carry              where it was built: puts beside the build what the other machine may lack
#     tools/gpu_check.sh [--tiny] PART...
#
# numerics          both families against the reference and, bit for bit, against committed digests; the contract of
#                   forward (capture and replay, two streams, poisoned neighbours, ranks that sum up); somebody else's layer
# forms             the instruction forms of tests/emulator, on the GPU and on the emulator, bit for bit
# models            sampled rows of the eight models against the reference, all rows of both families against each other
# sanitizer         compute-sanitizer's memcheck, racecheck and synccheck on a few cases of the portable family
# sanitizer-hopper  the same of the Hopper family
# cache             doctor, prefill from an empty cache, cold and warm start of a DeepSeek-R1 plan
# host              examples/torch_host.py: inside PyTorch, with torch.cuda.graphs
# bench             ceilings, and five models at 1 to 8192 tokens, Hopper family, three sums: bench.jsonl
# bench-portable    the same of the portable family: bench-portable.jsonl
# figures           zeroing, overlap, host time: zeroing.jsonl, overlap.jsonl, host.jsonl
# profile           ncu's speed of light, pipes and stalls of gate_up and down in whole layers: profile.txt
# tune              how long tuning takes, and how much ten tunings of the same differ (REPEATS=5 for fewer)
# tune-bench        four models by the rule and tuned: untuned.jsonl, tuned.jsonl
#
# --tiny: a few cases alone, for a try on the emulator. Exit status 0 if all passed, 1 if not, 2 for a bad command line.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
OUT=${OUT:-build/gpu}
bin=build/bin
carried=build/carried
tiny=0
passed=0
failed=0
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }

# check NAME SECONDS command...: one line of the table; the log keeps all output
check() {
    local name="$1" limit="$2" start=$SECONDS status
    shift 2
    printf '\n==== %s: %s\n' "$name" "$*" >>"$OUT/$part.log"
    timeout "$limit" "$@" >"$OUT/check.tmp" 2>&1
    status=$?
    cat "$OUT/check.tmp" >>"$OUT/$part.log"
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok   %-26s %4d s  %s\n' "$name" $((SECONDS - start)) "$(summary "$OUT/check.tmp" | cut -c1-140)"
    else
        failed=$((failed + 1))
        printf 'BAD  %-26s %4d s  exit status %s\n' "$name" $((SECONDS - start)) "$status"
        tail -6 "$OUT/check.tmp" | cut -c1-400
    fi
    rm -f "$OUT/check.tmp"
    return "$status"
}
# What a command has to say: the verdict of a run or of a bench row, else its last line
summary() { grep -oE '^ok  .*|(ok|BAD) (hopper|portable|deterministic): .*' "$1" | tail -1 | grep . || tail -1 "$1"; }
skip() { printf 'skip %-26s %s\n' "$1" "$2"; }

# record FILE SECONDS command...: JSON lines to $OUT/FILE
record() {
    local file="$1" limit="$2"
    shift 2
    check "$file" "$limit" bash -c '"${@:2}" >"$1" && echo "$(wc -l <"$1") lines"' - "$OUT/$file" "$@"
}

# digests LOG: the ordered sums of the covering table have the committed bits
digests() {
    grep -h '^case .* digest' "$1" | sort -u >"$OUT/digests_sm_90a.txt"
    if [ ! -s "$OUT/digests_sm_90a.txt" ]; then echo "no digest in $1"; return 1; fi
    if grep -vxFf tests/kernels/digests_sm_90a.txt "$OUT/digests_sm_90a.txt"; then return 1; fi
    echo "$(wc -l <"$OUT/digests_sm_90a.txt") layers have the committed bits"
}
export -f digests

part_numerics() {
    local step=1 family
    [ "$tiny" = 1 ] && step=40
    check kernels 240 $bin/test_kernels 0 $step digests
    check kernels-hopper 240 $bin/test_kernels 0 $step digests hopper
    if $bin/moejit doctor | grep -q '^GPU .*sm_90a'; then
        check digests 10 bash -c 'digests "$@"' - "$OUT/$part.log"
    else
        skip digests "they are of sm_90a"
    fi
    if [ "$tiny" = 0 ]; then
        for family in portable hopper; do
            check "layers-$family" 60 tests/kernels/layer_digests.sh $bin/moejit $family deterministic
            check "layers-$family-invariant" 60 tests/kernels/layer_digests.sh $bin/moejit $family batch-invariant
        done
    fi
    if [ "$tiny" = 0 ] && $bin/moejit doctor | grep -q '^GPU .*sm_90a'; then
        check layers-shared 60 tests/kernels/layer_digests.sh $bin/moejit hopper deterministic --shared
        check shared-tiles 120 $bin/test_shared_tiles
    fi
    check contract 120 $bin/test_forward
    check batch-invariance 60 $bin/test_batch_invariant
    [ "$tiny" = 1 ] || check few-pairs 120 $bin/test_folded
    check checkpoints 200 tests/checks/checkpoints_agree.sh $bin/moejit tests/data/checkpoints
    [ "$tiny" = 1 ] && return
    check every-kernel 240 $bin/moejit run --kernel all --hidden 1152 --intermediate 832 --experts 16 --top-k 6 --tokens 97 --check-rows 24
}

part_forms() {
    local script=tests/emulator/fidelity.sh library=libcuda.so.1
    [ "$tiny" = 1 ] && library=build/emulator/libcuda.so.1
    if [ ! -x $script ]; then skip forms "this tree has no $script"; return; fi
    check forms 300 $script record $library "$OUT/golden_sm_90a.txt"
}

models=qwen3-30b-a3b,gpt-oss-120b,nemotron3-nano,qwen3-235b-a22b,llama4-scout,mixtral-8x7b,deepseek-r1,kimi-k2

part_models() {
    local rows=6 tokens=1,64,500 model
    [ "$tiny" = 1 ] && rows=1 tokens=1
    for model in qwen3-30b-a3b gpt-oss-120b nemotron3-nano qwen3-235b-a22b llama4-scout mixtral-8x7b; do
        check "$model" 120 $bin/moejit run --model $model --tokens 64 --check-rows $rows
        [ "$tiny" = 1 ] && break
    done
    check deepseek-r1-rank 120 $bin/moejit run --model deepseek-r1 --local-experts 32:32 --tokens 128 --check-rows $rows --activation-format nvfp4 --graph
    check kimi-k2-rank 120 $bin/moejit run --model kimi-k2 --local-experts 0:48 --tokens 300 --check-rows 4 --sum deterministic
    [ "$tiny" = 1 ] && models=qwen3-30b-a3b
    check all-rows 240 $bin/moejit bench --model $models --tokens $tokens --sum all --check --repeat 3
    [ "$tiny" = 1 ] && return
    check all-rows-nvfp4 100 $bin/moejit bench --model qwen3-30b-a3b,deepseek-r1 --activation-format nvfp4 --tokens 16,1000 --sum all --check --repeat 3
    check all-rows-8192 100 $bin/moejit bench --model deepseek-r1,mixtral-8x7b --tokens 8192 --sum atomic,deterministic --check --repeat 3
}

sanitize() {
    local tool cases="3 17"
    [ "$tiny" = 1 ] && cases="3 60"
    if ! command -v compute-sanitizer >/dev/null; then skip "$part" "no compute-sanitizer here"; return; fi
    for tool in memcheck racecheck synccheck; do
        # shellcheck disable=SC2086
        check "$tool" 190 compute-sanitizer --tool $tool --error-exitcode 9 $bin/test_kernels $cases "$@"
    done
}

# prefill WORKERS [option]: all models from an empty cache, and again: then everything is found
prefill() {
    local cache workers=()
    cache="$(realpath "$OUT")/prefill-$1.db"
    [ -n "$2" ] && workers=("$2" "$1")
    rm -f "$cache"*
    $bin/moejit prefill --model "$3" --cache "$cache" "${workers[@]}" && $bin/moejit prefill --model "$3" --cache "$cache" --json >"$OUT/again.tmp" || return 1
    grep -E '"compiled": [1-9]' "$OUT/again.tmp" && { echo "the second run compiled again"; return 1; }
    grep -q '"compiled": 0' "$OUT/again.tmp" || { echo "the second run did not say what it compiled"; return 1; }
    rm -f "$OUT/again.tmp" "$cache"*
    echo "in $1 process(es), then all found"
}
export -f prefill
export bin OUT

# start COLD_SECONDS WARM_MS: of a DeepSeek-R1 plan, in the figures of bench --host
start() {
    $bin/moejit bench --host --model deepseek-r1 --local-experts 0:32 --tokens "$3" --json | tee "$OUT/start.tmp"
    python3 - "$1" "$2" "$OUT/start.tmp" <<'PYTHON'
import json, sys
cold, warm = float(sys.argv[1]) * 1e3, float(sys.argv[2])
row = json.loads(open(sys.argv[3]).read().splitlines()[-1])
good = row["plan_cold_ms"] <= cold and row["plan_warm_ms"] <= warm
print(f"{row['kernels']} kernels: cold {row['plan_cold_ms']} ms (at most {cold:.0f}), warm {row['plan_warm_ms']} ms (at most {warm:.0f})")
sys.exit(not good)
PYTHON
    local status=$?
    rm -f "$OUT/start.tmp"
    return $status
}
export -f start

part_cache() {
    local option workers what=all tokens=4096 cold=3 warm=50
    check doctor 30 $bin/moejit doctor
    [ "$tiny" = 1 ] && what=qwen3-30b-a3b tokens=2 cold=600 warm=60000
    option=$($bin/moejit prefill --help | grep -oE -e '--(workers|processes|jobs)' | head -1)
    for workers in 1 4 16; do
        if [ -z "$option" ] && [ $workers != 1 ]; then
            skip prefill-$workers "this build compiles in one process"
        else
            check prefill-$workers 150 bash -c 'prefill "$@"' - $workers "$option" $what
        fi
        [ "$tiny" = 1 ] && break
    done
    check plan-start 60 bash -c 'start "$@"' - $cold $warm $tokens
}

part_host() {
    if ! python3 -c 'import torch; torch.cuda.current_device()' >/dev/null 2>&1; then skip host "no PyTorch with a GPU here"; return; fi
    check torch 280 python3 examples/torch_host.py --library build/libmoejit.so.0
    check torch-odd-sizes 280 python3 examples/torch_host.py --library build/libmoejit.so.0 --sizes 2880,2880,8,4,33
}

bench_models=deepseek-r1,qwen3-235b-a22b,qwen3-30b-a3b,mixtral-8x7b,gpt-oss-120b
bench_tokens=1,2,4,8,16,32,64,128,256,512,1024,2048,4096,8192

# cuBLAS where the loader does not find it: PyTorch's
cublas() {
    local found
    found=$(python3 -c 'import glob, os, site
for place in site.getsitepackages() + [site.getusersitepackages()]:
    for path in sorted(glob.glob(os.path.join(place, "nvidia", "*", "lib", "libcublas.so.1[23]"))): print(path)' 2>/dev/null | head -1)
    if ! ldconfig -p 2>/dev/null | grep -q 'libcublas\.so\.1[23]' && [ ! -e /usr/local/cuda/lib64/libcublas.so.13 ] && [ -n "$found" ]; then
        echo "--cublas-library $found"
    fi
}

run_bench() {
    [ "$tiny" = 1 ] && bench_models=qwen3-30b-a3b bench_tokens=1,2
    # shellcheck disable=SC2046
    record "$part.jsonl" 590 $bin/moejit bench --model $bench_models --tokens $bench_tokens --sum all --json $(cublas) "$@"
}

part_figures() {
    local tokens=16,256 overlap=1,16,256,4096 host=1,16,4096 sums=all
    [ "$tiny" = 1 ] && tokens=1 overlap=1 host=1 sums=deterministic
    # shellcheck disable=SC2046
    [ "$tiny" = 1 ] || check ceilings 60 $bin/moejit bench --ceilings $(cublas)
    record zeroing.jsonl 150 $bin/moejit bench --zeroing --model deepseek-r1 --tokens $tokens --json
    record overlap.jsonl 150 $bin/moejit bench --overlap --model qwen3-30b-a3b,deepseek-r1 --tokens $overlap --json
    record host.jsonl 300 $bin/moejit bench --host --model qwen3-30b-a3b,deepseek-r1 --tokens $host --sum $sums --json
}

# profile MODEL TOKENS: an average for each kernel, of the forwards inside the range "layer"
profile() {
    ncu --clock-control none --nvtx --nvtx-include "layer/" -k 'regex:moejit_(gate_up|down)' --print-summary per-kernel \
        --section SpeedOfLight --section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis --section SchedulerStats \
        --section WarpStateStats --section Occupancy \
        $bin/moejit bench --model "$1" --tokens "$2" --eager --no-ceilings --repeat 1 >"$OUT/profile.tmp" 2>&1
    local status=$?
    cat "$OUT/profile.tmp" >>"$OUT/profile.txt"
    [ $status -eq 0 ] || tail -5 "$OUT/profile.tmp"
    echo "$(grep -cE 'moejit_(gate_up|down)_' "$OUT/profile.tmp") kernels in profile.txt"
    rm -f "$OUT/profile.tmp"
    return $status
}
export -f profile

part_profile() {
    local model
    if ! command -v ncu >/dev/null; then skip "$part" "no ncu here"; return; fi
    : >"$OUT/profile.txt"
    for model in qwen3-30b-a3b deepseek-r1 mixtral-8x7b; do
        check "profile-$model" 190 bash -c 'profile "$@"' - $model 1,16,64,256,1024,4096
    done
}

fresh_cache() {
    export MOEJIT_CACHE_DIR="$PWD/build/gpu-cache-tune"
    rm -rf "$MOEJIT_CACHE_DIR"
    mkdir -m 700 "$MOEJIT_CACHE_DIR"
}

part_tune() {
    local rank="--model deepseek-r1 --local-experts 0:32" repeats="${REPEATS:-10}" tokens=8192 fewer=1024
    [ "$tiny" = 1 ] && repeats=2 tokens=2 fewer=2
    if ! $bin/moejit tune --help >/dev/null 2>&1; then skip "$part" "this build does not tune"; return; fi
    (
        fresh_cache
        # shellcheck disable=SC2086
        {
            check tune-empty-cache 200 $bin/moejit tune $rank --max-tokens $tokens --budget 120
            check tune-stored 60 $bin/moejit tune $rank --max-tokens $tokens
            check tune-zipf 130 $bin/moejit tune $rank --zipf 1 --max-tokens $fewer --budget 120
            check tune-portable 130 $bin/moejit tune $rank --family portable --max-tokens $fewer --budget 120
            check tune-deterministic 130 $bin/moejit tune $rank --sum deterministic --max-tokens $fewer --budget 120
            check tune-repeat-r1 200 $bin/moejit tune $rank --repeat "$repeats" --max-tokens $tokens --budget 120
            check tune-repeat-qwen3 200 $bin/moejit tune --model qwen3-30b-a3b --max-tokens $fewer --repeat "$repeats" --budget 120
        }
        echo "$passed $failed" >"$OUT/counts.tmp"
    )
    read -r passed failed <"$OUT/counts.tmp"
    rm -f "$OUT/counts.tmp"
}

part_tune_bench() {
    local names=deepseek-r1,qwen3-30b-a3b,gpt-oss-120b,mixtral-8x7b tokens=$bench_tokens
    [ "$tiny" = 1 ] && names=qwen3-30b-a3b tokens=1
    if ! $bin/moejit bench --help | grep -q -e --tuned; then skip "$part" "this build does not tune"; return; fi
    record untuned.jsonl 250 $bin/moejit bench --model $names --tokens $tokens --untuned --json
    record tuned.jsonl 340 $bin/moejit bench --model $names --tokens $tokens --tuned --json
}

# carry: the libraries that the tests need, beside the build, and what to take along
carry() {
    local library paths
    mkdir -p $carried
    library=$(ldd $bin/test_forward | awk '/libcmocka/ {print $3}')
    cp -L "$library" "$carried/$(basename "$library")"
    paths="$bin $carried build/emulator $(find build -maxdepth 1 \( -name 'libmoejit*.so*' -o -type f -executable \) | sort | tr '\n' ' ')"
    # shellcheck disable=SC2086
    echo "take along ($(du -ch $paths | tail -1 | cut -f1)): $paths"
}

run_part() {
    part="$1"
    : >"$OUT/$part.log"
    case "$part" in
    numerics | forms | models | cache | host | figures | profile | tune | tune-bench) "part_${part//-/_}" ;;
    sanitizer) sanitize ;;
    sanitizer-hopper) sanitize hopper ;;
    bench) run_bench --family auto ;;
    bench-portable) run_bench --family portable --seconds 0.05 ;;
    esac
}

parts=()
for argument in "$@"; do
    case "$argument" in
    -h | --help) usage; exit 0 ;;
    --tiny) tiny=1 ;;
    carry) carry; exit ;;
    numerics | forms | models | sanitizer | sanitizer-hopper | cache | host | bench | bench-portable | figures | profile | tune | tune-bench)
        parts+=("$argument")
        ;;
    *) echo "tools/gpu_check.sh: \"$argument\" is no part; see --help" >&2; exit 2 ;;
    esac
done
if [ "${#parts[@]}" -eq 0 ]; then usage; exit 2; fi
mkdir -p "$OUT"
export MOEJIT_CACHE_DIR="${MOEJIT_CACHE_DIR:-$PWD/build/gpu-cache}"
mkdir -p "$MOEJIT_CACHE_DIR"
chmod 700 "$MOEJIT_CACHE_DIR"
export LD_LIBRARY_PATH="$PWD/$carried${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit --format=csv,noheader 2>/dev/null
for part in "${parts[@]}"; do run_part "$part"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
