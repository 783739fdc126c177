# shellcheck shell=bash disable=SC2034
# Sourced by the checks of the command, which are given the command and the emulator: a folder of their own, an environment
# of which only the NVRTC counts, and what a run must say.
moejit=$1
emulator=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Of the caller's environment only the NVRTC counts.
unset MOEJIT_CUDA_LIBRARY MOEJIT_KERNEL_SOURCES_DIR MOEJIT_EMULATOR_ARCH XDG_CACHE_HOME
nvrtc=${MOEJIT_NVRTC_LIBRARY-}
export MOEJIT_CACHE_DIR=$folder/cache
small=(--hidden 256 --intermediate 128 --experts 4 --top-k 2)
bad=0

# expect STATUS PATTERN ARGUMENT...: the exit status, and a line of stdout or stderr that matches
expect() {
    local status=0 wanted=$1 pattern=$2
    shift 2
    "$moejit" "$@" >"$folder/output" 2>&1 || status=$?
    if [ "$status" != "$wanted" ] || ! grep -qE -- "$pattern" "$folder/output"; then
        printf 'moejit %s: exit status %s, wanted %s and a line with "%s"; it said:\n' "$*" "$status" "$wanted" "$pattern"
        cat "$folder/output"
        bad=1
    fi
}
# also PATTERN: the last command said this too
also() {
    if ! grep -qE -- "$1" "$folder/output"; then
        printf 'no line with "%s" in:\n' "$1"
        cat "$folder/output"
        bad=1
    fi
}
