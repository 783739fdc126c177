#!/usr/bin/env bash
# Packs: reproducible bytes, hits for any user and place, and a layer that runs with packs alone, with no NVRTC.
# $1 the command, $2 the emulator
set -euo pipefail
moejit=$1
emulator=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset MOEJIT_CACHE_PACKS MOEJIT_CACHE_MAX_BYTES MOEJIT_CACHE_DIR MOEJIT_KERNEL_SOURCES_DIR MOEJIT_EMULATOR_ARCH XDG_CACHE_HOME
small=(--hidden 64 --intermediate 32 --experts 4 --top-k 2)
fill=(prefill "${small[@]}" --arch sm_80,sm_90a --max-tokens 8)
fail() { printf '%s\n' "$*"; exit 1; }
says() { grep -qE -- "$1" "$folder/output" || { cat "$folder/output"; fail "no line with \"$1\""; }; }

# Made twice, compiled anew in another place, user's home and time: the same bytes.
HOME=$folder/home1 "$moejit" "${fill[@]}" --pack "$folder/one.mjpack" >"$folder/output"
says '^pack: [1-9][0-9]* kernels, [1-9][0-9]* rows$'
(mkdir "$folder/elsewhere" && cd "$folder/elsewhere" &&
    HOME=$folder/home2 USER=somebody TZ=Asia/Tokyo "$moejit" "${fill[@]}" --cache "$folder/other/k.db" --pack two.mjpack >"$folder/output")
says '[1-9][0-9]* compiled, 0 found'
cmp "$folder/one.mjpack" "$folder/elsewhere/two.mjpack" || fail "packs differ"
# A resumed run, out of the cache alone, too; and one out of a pack alone.
HOME=$folder/home1 MOEJIT_NVRTC_LIBRARY=$folder/none.so "$moejit" "${fill[@]}" --pack "$folder/three.mjpack" >/dev/null
cmp "$folder/one.mjpack" "$folder/three.mjpack" || fail "a resumed pack differs"
MOEJIT_CACHE_PACKS=$folder/one.mjpack MOEJIT_NVRTC_LIBRARY=$folder/none.so "$moejit" "${fill[@]}" \
    --cache "$folder/fresh/k.db" --pack "$folder/four.mjpack" >"$folder/output"
says ' 0 compiled, [1-9][0-9]* found'
cmp "$folder/one.mjpack" "$folder/four.mjpack" || fail "a pack of a pack differs"
# Nothing half written where it cannot be written, and where there is no database to take it from.
if "$moejit" "${fill[@]}" --cache "$folder/other/k.db" --pack "$folder/none/x.mjpack" >"$folder/output" 2>&1; then fail "wrote into nowhere"; fi
if "$moejit" "${fill[@]}" --cache '' --pack "$folder/x.mjpack" >"$folder/output" 2>&1; then fail "a pack of nothing"; fi
says 'there is no database'
[ -z "$(find "$folder" -name '*.part')" ] || fail "a part is left"

# No NVRTC at all: packs alone, then the imported pack. A plan is made and the layer runs.
export MOEJIT_NVRTC_LIBRARY=$folder/none.so MOEJIT_CUDA_LIBRARY=$emulator
run=(run "${small[@]}" --tokens 8)
chmod 444 "$folder/one.mjpack"
export MOEJIT_CACHE_DIR=$folder/empty
if "$moejit" "${run[@]}" >"$folder/output" 2>&1; then fail "ran without kernels"; fi
says 'no NVRTC'
for arch in sm_80 sm_90a; do
    MOEJIT_EMULATOR_ARCH=$arch MOEJIT_CACHE_PACKS=$folder/missing.mjpack::$folder/one.mjpack "$moejit" "${run[@]}" >"$folder/output" 2>&1 || fail "did not run on the pack: $(cat "$folder/output")"
    says '^ok  '
    says 'warning: kernel cache: the pack .*missing.mjpack is left out'
done
[ "$(sqlite3 "$folder/empty/moejit.db" 'SELECT count(*) FROM images')" = 0 ] || fail "a hit in a pack was copied"
export MOEJIT_CACHE_DIR=$folder/imported
"$moejit" cache import "$folder/one.mjpack" >/dev/null
"$moejit" "${run[@]}" >"$folder/output" 2>&1 || fail "did not run on the imported pack: $(cat "$folder/output")"
says '^ok  '
# A pack that others may write is code of theirs.
chmod 666 "$folder/one.mjpack"
export MOEJIT_CACHE_DIR=$folder/empty
if MOEJIT_CACHE_PACKS=$folder/one.mjpack "$moejit" "${run[@]}" >"$folder/output" 2>&1; then fail "took a pack that anybody may write"; fi
says 'may be written by other users'
