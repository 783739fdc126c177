#!/usr/bin/env bash
# Each layer includes only layers above it (docs/architecture.md). Fails with the offending lines.
set -euo pipefail
cd "$1"
bad=0
# $1 folder, $2 the quoted includes it may have, as a regular expression
allow() {
    local lines
    lines=$(grep -rnE '#include "' "$1" --include='*.c' --include='*.h' | grep -vE "#include \"($2)" || true)
    if [ -n "$lines" ]; then
        printf 'layer %s reaches down:\n%s\n' "$1" "$lines"
        bad=1
    fi
}
allow src/base 'base/|moejit/'
allow src/cuda 'cuda/|base/|moejit/'
allow src/moe 'moe/|base/|moejit/|abi\.h'
allow src/jit 'jit/|moe/|cuda/|base/|moejit/|abi\.h'
allow cache '[a-z_]+\.h|base/|moejit/'
allow src/run 'run/|jit/|moe/|cuda/|flight\.h|key\.h|store\.h|tuning_store\.h|base/|moejit/|abi\.h'
allow checkpoint '(expert_matrix|family_table|fold|json|mapped_file|model|model_config|safetensors|tensor_table)\.h|moe/nvfp4|base/|moejit/'
# Who may know what: dlopen only cuda/, SQLite and xxHash only cache/, CUDA headers not in moe/ and cache/.
only() {
    local lines
    lines=$(grep -rnE "$1" src cache checkpoint include | grep -vE "^($2)" || true)
    if [ -n "$lines" ]; then
        printf 'only %s may have %s:\n%s\n' "$2" "$1" "$lines"
        bad=1
    fi
}
only 'dlopen' 'src/cuda/'
only '<jansson\.h>' 'checkpoint/'
only '<(sqlite3|xxhash)\.h>' 'cache/'
only '<(cuda|nvrtc)\.h>' 'src/cuda/'
exit $bad
