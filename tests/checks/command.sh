#!/usr/bin/env bash
# What the command says and how it exits: run, prefill, inspect and doctor, in good cases and in refused ones.
# $1 the command, $2 the emulator
set -euo pipefail
. "$(dirname "$0")/expect.sh"

expect 0 '^Usage: moejit COMMAND' --help
expect 0 '^moejit [0-9]+\.[0-9]+\.[0-9]+$' --version
expect 2 '^Usage: moejit COMMAND'
expect 2 '"fly" is no command' fly
for command in run bench prefill inspect doctor; do
    expect 0 "^Usage: moejit $command" $command --help
    also 'Exit status: 0 '
    expect 2 "unrecognized option '--fly'" $command --fly
    expect 2 "^moejit $command: \"fly\" is no option" $command fly
done
for command in run bench prefill inspect; do
    expect 2 '--hidden is "12x", needs a whole number' $command --hidden 12x
    expect 2 '--model is "gpt-9", which is not one of the list' $command --model gpt-9
    expect 2 '--activation is "tanh", needs one of: swiglu, ' $command --activation tanh
    expect 2 '--local-experts is "3", needs FIRST:COUNT' $command --local-experts 3
done
expect 2 '--max-tile-ctas is "9", needs a whole number from 0 to 8' run "${small[@]}" --max-tile-ctas 9
for command in prefill inspect; do
    expect 2 'needs --model, .* or all of' $command --hidden 256
    expect 2 '--max-tokens is "0", needs a whole number from 1' $command "${small[@]}" --max-tokens 0
    expect 3 'arch "sm_70" is not one of sm_80, ' $command "${small[@]}" --arch sm_70
    expect 3 'hidden .*100.* multiple of 16' $command --hidden 100 --intermediate 128 --experts 4 --top-k 2
done

# prefill compiles once; then all is found.
expect 0 'sm_80: 5 kernels, 5 compiled, 0 found, 0 bytes spilled' prefill "${small[@]}" --arch sm_80 --max-tokens 1
expect 0 '"kernels": 5, "compiled": 0, "found": 5, "spilled_bytes": 0' prefill "${small[@]}" --arch sm_80 --max-tokens 1 --json

# inspect: the same kernels, out of the cache (an NVRTC that is not there is not asked for).
inspect=(inspect "${small[@]}" --arch sm_80 --max-tokens 1)
kernel=moejit_down_portable_64x8x64
export MOEJIT_NVRTC_LIBRARY=$folder/none.so
expect 0 '^symbol +registers +spilled +static shared +dynamic shared +threads$' "${inspect[@]}"
also "^$kernel +[1-9][0-9]* +0 +[0-9]+ +[0-9]+ +[1-9][0-9]*\$"
also '^moejit_route '
expect 0 "^\{\"symbol\": \"$kernel\", \"registers\": [1-9][0-9]*, \"spilled_bytes\": 0, " "${inspect[@]}" --kernel $kernel --what resources --json
expect 0 'struct Config' "${inspect[@]}" --kernel $kernel
also "$kernel"
expect 0 '^\.target sm_80' "${inspect[@]}" --kernel $kernel --what ptx
expect 0 '^arch 5:sm_80$' "${inspect[@]}" --kernel $kernel --what key
expect 0 '"key": "moejit key 1\\narch 5:sm_80\\n' "${inspect[@]}" --kernel $kernel --what key --json
expect 2 '--kernel is "moejit_fly", but this plan has only:' "${inspect[@]}" --kernel moejit_fly
also "^  $kernel\$"
expect 2 '--what is "smell", needs one of: source, ptx, sass, key, resources' "${inspect[@]}" --what smell
expect 2 '--what ptx needs --kernel' "${inspect[@]}" --what ptx
expect 3 'no NVRTC, .*none\.so' "${inspect[@]}" --arch sm_89
# key compiles nothing, for any arch; diff tells in what two keys differ.
expect 0 '^arch 5:sm_89$' inspect key "${small[@]}" --arch sm_89 --max-tokens 1
expect 0 '^moejit key 1$' inspect key "${small[@]}" --arch sm_80 --max-tokens 1 --kernel $kernel
cp "$folder/output" "$folder/a"
expect 0 '^the same key$' inspect diff "$folder/a" "$folder/a"
expect 0 . inspect key "${small[@]}" --arch sm_89 --max-tokens 1 --kernel $kernel --output-dtype f16
cp "$folder/output" "$folder/b"
expect 1 '^arch: sm_80 \| sm_89$' inspect diff "$folder/a" "$folder/b"
also '^unit: +static constexpr int output_dtype = MJ_DTYPE_BF16; \| +static constexpr int output_dtype = MJ_DTYPE_F16;$'
expect 1 '^\{"field": "arch", "a": "sm_80", "b": "sm_89"\}$' inspect diff "$folder/a" "$folder/b" --json
hash=$("$moejit" cache ls | awk "/$kernel/ { print \$1; exit }")
expect 0 '^the same key$' inspect diff "$hash" "$folder/a"
expect 2 'diff needs two keys' inspect diff "$folder/a"
expect 3 '0 keys of the cache start with 00000' inspect diff 00000 "$folder/a"
expect 3 '"none" is neither a file nor the start of a hash' inspect diff none "$folder/a"
export MOEJIT_NVRTC_LIBRARY=$nvrtc

# inspect cost: what is refused; its table is tests/kernels/cost.py's.
cost=(inspect cost "${small[@]}")
expect 0 '^Usage: moejit inspect cost' inspect cost --help
also 'Exit status: 0 '
expect 2 '^moejit inspect cost: "fly" is no option' "${cost[@]}" fly
expect 2 '--family is "all of them", needs one of: all, portable, hopper, fp4' "${cost[@]}" --family 'all of them'
expect 2 '--tile is "1x1", which is no tile' "${cost[@]}" --tile 1x1
expect 2 '--tile is "fp4_64x8x256", which does not run on sm_90a' "${cost[@]}" --tile fp4_64x8x256
expect 2 '--tokens is "0", needs a whole number from 1' "${cost[@]}" --tokens 0
expect 2 '^moejit inspect cost: no tile 64x8x64 is of the hopper family and runs on sm_90a' "${cost[@]}" --family hopper --tile 64x8x64
expect 2 '^moejit inspect cost: no tile is of the fp4 family and runs on sm_90a' "${cost[@]}" --family fp4
expect 3 '--arch is "sm_80", whose rates are not known; they are of sm_90a, sm_120a or sm_121a' "${cost[@]}" --arch sm_80
expect 3 'no nvdisasm: .*none: No such file' "${cost[@]}" --tile 64x8x64 --nvdisasm "$folder/none"
# Something else in nvdisasm's place, at last with a loop.
expect 3 'false -c of a cubin exited with 1: it printed nothing' "${cost[@]}" --tile 64x8x64 --nvdisasm "$(command -v false)"
expect 3 'moejit_gate_up_[a-z_]*64x8x64: nvdisasm printed 0 instructions, and no loop' "${cost[@]}" --tile 64x8x64 --nvdisasm "$(command -v echo)"
cat >"$folder/nvdisasm" <<'END'
#!/bin/sh
echo '.L_x_1:'
for opcode in LDGSTS.E.BYPASS.128 LOP3.LUT FLY.FAST 'HMMA.16816.F32.BF16 R4, R8, R12, R4' 'BRA `(.L_x_1)'; do
    echo "        /*0010*/              @P0 $opcode ;"
done
END
chmod +x "$folder/nvdisasm"
cost+=(--tile 64x8x64 --nvdisasm "$folder/nvdisasm")
expect 0 '^gate_up 64x8x64 +[1-9][0-9]* +0 +no +[1-9][0-9]* +[1-9]' "${cost[@]}" --tokens 1,16
also '^clocks a block +issue integer'
also '^predicted us at T tokens +1 +16$'
also 'moejit_down_[a-z_]*64x8x64: not in the table of pipes, counted as control: FLY\.FAST$'
expect 0 '^\{"kernel": "down 64x8x64", "gpu": "H100 80GB HBM3", "registers": [1-9].*"multiplying": \{"integer": 4\.00, .*"predicted_us": \{\}\}$' "${cost[@]}" --json --tokens none
expect 3 'counting on the emulator: .*none.so: no CUDA driver' "${cost[@]}" --emulator "$folder/none.so"
expect 0 '"gpu": "GeForce RTX 5090".*"tensor": 32\.00, "memory": 131\.53' "${cost[@]}" --arch sm_120a --json
MOEJIT_NVDISASM=$folder/nvdisasm expect 0 '^ +/\*0010\*/ +@P0 LOP3' "${inspect[@]}" --kernel $kernel --what sass

# run, on the emulator.
expect 0 '^ok  ' run "${small[@]}" --tokens 2 --cuda-library "$emulator"
also '^emulator: '
expect 0 '"good": true' run "${small[@]}" --tokens 2 --cuda-library "$emulator" --json
expect 2 '--tokens is "-1", needs a whole number from 0' run --tokens -1
expect 2 '--tile is "1x1", which is not one' run --tile 1x1
expect 2 '--routing is "random", needs one of: uniform, ' run --routing random
expect 2 '--kernel is "one", needs "all"' run --kernel one
expect 3 'no CUDA driver: .*none\.so' run "${small[@]}" --cuda-library "$folder/none.so"
expect 3 'hidden .*100.* multiple of 16' run --hidden 100 --intermediate 128 --experts 4 --top-k 2 --cuda-library "$emulator"

# doctor: all is there, and each thing that is not.
expect 0 '^everything moejit needs is here$' doctor --cuda-library "$emulator"
also '^driver .*, the emulator'
also '^GPU .* compute capability 9\.0, sm_90a, [0-9]+ multiprocessors, '
also '^NVRTC .*\(NVRTC [0-9]+\.[0-9]+\), compiles for sm_90a$'
also "^cache +$folder/cache/moejit\.db, writable, [1-9][0-9]* bytes, permissions 0600\$"
also "^  MOEJIT_CACHE_DIR=$folder/cache\$"
also '^  MOEJIT_CUDA_LIBRARY is not set$'
expect 0 '"good": true, "emulated": true, "arch": "sm_90a"' doctor --cuda-library "$emulator" --json
expect 3 '^missing: driver, GPU$' doctor --cuda-library "$folder/none.so"
also '^driver +MISSING: no CUDA driver: .*none\.so'
also '^ +to do: name the driver'
also '^NVRTC .*compiles for sm_90a$'
expect 3 '^missing: NVRTC$' doctor --cuda-library "$emulator" --nvrtc-library "$folder/none.so"
also '^ +to do: install the CUDA toolkit'
expect 3 '"nvrtc": \{"found": false' doctor --cuda-library "$emulator" --nvrtc-library "$folder/none.so" --json
touch "$folder/file"
expect 3 '^missing: cache$' doctor --cuda-library "$emulator" --cache "$folder/file/moejit.db"
expect 0 '^cache +memory only, as asked for$' doctor --cuda-library "$emulator" --cache ''
export MOEJIT_EMULATOR_ARCH=sm_90 # refuses kernels for sm_90a
expect 3 '^missing: GPU$' doctor --cuda-library "$emulator"
also '^GPU +MISSING: NVIDIA .*; but it refuses what NVRTC compiles: '
unset MOEJIT_EMULATOR_ARCH
export MOEJIT_KERNEL_SOURCES_DIR=$folder MOEJIT_KERNEL=1
expect 3 '^missing: kernel sources, NVRTC, cache$' doctor --cuda-library "$emulator"
also '^  MOEJIT_KERNEL=1 \(moejit reads no such variable\)$'
exit $bad
