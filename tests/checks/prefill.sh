#!/usr/bin/env bash
# moejit prefill: lists, what it says on a terminal, in a log and as JSON, failures, Ctrl-C and going on after it. With the
# fake NVRTC: $1 the command, $2 the fake.
set -euo pipefail
moejit=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset MOEJIT_CACHE_PACKS MOEJIT_CACHE_MAX_BYTES MOEJIT_KERNEL_SOURCES_DIR MOEJIT_COMPILE_WORKERS XDG_CACHE_HOME
export MOEJIT_CACHE_DIR=$folder/cache MOEJIT_NVRTC_LIBRARY=$2
small=(prefill --hidden 256 --intermediate 128 --experts 4 --top-k 2 --max-tokens 1 --workers 2)
. "$(dirname "$0")/assertions.sh"

# expect STATUS PATTERN ARGUMENT...: the exit status, and a line of stdout or stderr that matches
expect() {
    local status=0 wanted=$1 pattern=$2
    shift 2
    "$moejit" "$@" >"$folder/stdout" 2>"$folder/stderr" || status=$?
    cat "$folder/stdout" "$folder/stderr" >"$folder/output"
    if [ "$status" != "$wanted" ] || ! grep -qE -- "$pattern" "$folder/output"; then
        printf 'moejit %s: exit status %s, wanted %s and a line with "%s"; it said:\n' "$*" "$status" "$wanted" "$pattern"
        cat "$folder/output"
        bad=1
    fi
}
# summary TOTAL COMPILED HITS FAILED: of the JSON, whose every line must be an object
summary() {
    python3 - "$folder/stdout" "$@" <<'P' || bad=1
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
last = lines[-1]
seen = [last[name] for name in ("event", "total", "compiled", "hits", "failed")]
wanted = ["summary"] + [int(value) for value in sys.argv[2:]]
if seen != wanted:
    print("summary is", seen, "wanted", wanted)
    sys.exit(1)
P
}

expect 2 '--tensor-parallel is 3, needs to divide intermediate = 128' "${small[@]}" --tensor-parallel 3
expect 2 '--sum is "all", needs one of' "${small[@]}" --sum atomic,all
expect 2 '--arch is a list with an empty' "${small[@]}" --arch sm_80,,sm_90a
expect 2 '--model is "gpt-9"' prefill --model deepseek-r1,gpt-9
expect 3 'arch "sm_70" is not one of' "${small[@]}" --arch sm_70,sm_80
expect 3 'hidden .*100.* multiple of 16' prefill --hidden 100 --intermediate 128 --experts 4 --top-k 2 --dry-run

# A dry run lists each kernel once; the run compiles as many, and its repetition none.
lists=(--arch sm_80,sm_90a --tensor-parallel 1,2 --sum atomic,deterministic --output-dtype bf16,f16 --activation-format bf16,nvfp4)
expect 0 ' moejit_route +layer tp1' "${small[@]}" "${lists[@]}" --dry-run
missing=$(grep -c '^sm_' "$folder/output")
also "^$missing kernels: 0 compiled, 0 found, 0 failed"
expect 0 'layer tp2 nvfp4 f16 deterministic' "${small[@]}" "${lists[@]}" --json --pack "$folder/all.mjpack"
summary "$missing" "$missing" 0 0
also '"event": "progress", "done": [1-9][0-9]*, "total": '"$missing"', .*"seconds_left": '
also "\"event\": \"pack\", \"kernels\": $missing, \"rows\": $((3 * missing))"
expect 0 '"event": "start", "total": '"$missing"', "missing": 0' "${small[@]}" "${lists[@]}" --json
summary "$missing" 0 "$missing" 0
expect 0 "^$missing kernels: 0 compiled, 0 found" "${small[@]}" "${lists[@]}" --cache "$folder/other/k.db" --dry-run

# One kernel fails: the others are there, the exit status and the summary tell.
export MOEJIT_CACHE_DIR=$folder/failing
FAKE_NVRTC_REFUSE=route expect 3 'layer sm_80: compiling moejit_route .*NVRTC_ERROR_COMPILATION' "${small[@]}" --arch sm_80 --json
summary 5 4 0 1
also '"event": "failed", "layer": "layer", "arch": "sm_80", "error": "compiling moejit_route'
FAKE_NVRTC_ABORT=zero expect 3 'ended by signal 6' "${small[@]}" --arch sm_89
also '^5 kernels: 4 compiled, 0 found, 1 failed'

# Ctrl-C: a valid pack of what is whole, exit status 3; then the rest alone is compiled, and the pack is the same as one
# made without a stop.
export MOEJIT_CACHE_DIR=$folder/stopped
FAKE_NVRTC_MS=200 "$moejit" "${small[@]}" "${lists[@]}" --json --pack "$folder/stopped.mjpack" >"$folder/output" 2>&1 &
child=$!
for _ in $(seq 600); do
    grep -q '"event": "layer"' "$folder/output" && break
    sleep 0.05
done
kill -INT $child
status=0
wait $child || status=$?
[ "$status" = 3 ] || { echo "exit status $status after Ctrl-C"; bad=1; }
also '"event": "summary"'
expect 0 ', 0 bad' cache verify --cache "$folder/stopped.mjpack"
done_before=$("$moejit" cache stats --json | sed 's/.*"keys": \([0-9]*\).*/\1/')
[ "$done_before" -ge 5 ] && [ "$done_before" -lt "$missing" ] || { echo "stopped with $done_before keys"; bad=1; }
expect 0 . "${small[@]}" "${lists[@]}" --json --pack "$folder/stopped.mjpack"
summary "$missing" "$((missing - done_before))" "$done_before" 0
cmp "$folder/all.mjpack" "$folder/stopped.mjpack" || bad=1
# No compiler is left: none has this folder in its environment.
left() {
    local environ
    for environ in $(grep -lzs "^MOEJIT_CACHE_DIR=$folder/stopped" /proc/[0-9]*/environ); do
        grep -s moejit-compile "${environ%environ}comm" || true
    done
}
for _ in $(seq 100); do
    [ -z "$(left)" ] && break
    sleep 0.05
done
[ -z "$(left)" ] || { echo "a compiler is left: $(left)"; bad=1; }

# On a terminal: a bar with done, total, rate, time left and what runs.
export MOEJIT_CACHE_DIR=$folder/terminal
FAKE_NVRTC_MS=100 python3 -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)' "$moejit" "${small[@]}" >"$folder/output"
also '\[#+\.+\] [1-4]/5, [0-9.]+/s, [0-9]+:[0-9][0-9] left, [12] running: layer sm_90a: moe'
also '^.*layer sm_90a: 5 kernels, 5 compiled, 0 found, 0 bytes spilled'
exit $bad
