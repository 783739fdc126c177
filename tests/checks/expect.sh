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
. "$(dirname "${BASH_SOURCE[0]}")/assertions.sh"
