#!/usr/bin/env bash
# moejit cache: what each action says, writes and removes, and how it exits. $1 the command
set -euo pipefail
moejit=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset MOEJIT_CACHE_PACKS MOEJIT_CACHE_MAX_BYTES MOEJIT_KERNEL_SOURCES_DIR XDG_CACHE_HOME
export MOEJIT_CACHE_DIR=$folder/cache
. "$(dirname "$0")/assertions.sh"


expect 0 '^Usage: moejit cache ls' cache --help
expect 2 'needs one of: ls, stats' cache
expect 2 '"fly" is none of: ls, stats' cache fly
expect 2 "unrecognized option '--fly'" cache ls --fly
expect 2 'ls takes no file: "x"' cache ls x
expect 2 'prune needs --max-bytes' cache prune
expect 2 '--max-bytes is "-1", needs a whole number' cache prune --max-bytes -1
expect 2 'import needs the packs' cache import
expect 2 'export needs either' cache export
expect 2 'export needs either' cache export "$folder/a" --images "$folder/b"
expect 2 'merge needs' cache merge "$folder/a"
expect 3 'No such file' cache ls --cache "$folder/none.db"
hold test ! -e "$folder/none.db"

prefill() { "$moejit" prefill --hidden "$1" --intermediate 32 --experts 4 --top-k 2 --arch sm_80 --max-tokens 1 "${@:2}" >/dev/null; }
prefill 64
prefill 128 --cache "$folder/other/k.db"
expect 0 '^[0-9a-f]{12}  sm_80    moejit_route +cubin  nvrtc [0-9.]+ +[1-9][0-9]*  20' cache ls
hold test "$(wc -l <"$folder/output")" = 16
expect 0 '^\{"key": "[0-9a-f]{32}", "arch": "sm_80", "symbol": "moejit_zero", "format": "ptx", "toolchain": "nvrtc ' cache ls --json
expect 0 '^5 keys, 15 rows, [0-9]+ bytes' cache stats
expect 0 '"keys": 5, "rows": 15' cache stats --json
expect 0 '^15 rows, 0 bad, readable to the end: true' cache verify

# export and merge: the same bytes, whatever the order of writing; an imported database exports the pack again.
expect 0 '^15 rows written, 0 bad' cache export "$folder/a.mjpack"
expect 0 '"rows": 15, "bad": 0' cache export "$folder/b.mjpack" --json
hold cmp "$folder/a.mjpack" "$folder/b.mjpack"
expect 0 '^15 rows, 0 bad' cache verify --cache "$folder/a.mjpack"
expect 0 '^15 rows written' cache export "$folder/other.mjpack" --cache "$folder/other/k.db"
expect 0 '^21 rows written' cache merge "$folder/ab.mjpack" "$folder/a.mjpack" "$folder/other.mjpack" # pack, route and zero are the same
expect 0 '^21 rows written' cache merge "$folder/ba.mjpack" "$folder/other.mjpack" "$folder/a.mjpack"
hold cmp "$folder/ab.mjpack" "$folder/ba.mjpack"
expect 0 '^30 rows imported, 0 bad' cache import "$folder/a.mjpack" "$folder/other.mjpack" --cache "$folder/new/k.db"
expect 0 '^21 rows written' cache export "$folder/new.mjpack" --cache "$folder/new/k.db"
hold cmp "$folder/ab.mjpack" "$folder/new.mjpack"
expect 3 'none.mjpack' cache merge "$folder/c.mjpack" "$folder/none.mjpack"
hold test ! -e "$folder/c.mjpack"
expect 0 '^5 cubins written' cache export --images "$folder/images"
hold test "$(find "$folder/images" -name 'moejit_*-sm_80-*.cubin' -size +1k | wc -l)" = 5

# A row that is not as it was written: found, left out, and said by the exit status.
cp "$folder/cache/moejit.db" "$folder/rotten.db"
sqlite3 "$folder/rotten.db" "UPDATE images SET image = zeroblob(100) WHERE rowid = 1"
expect 1 '^15 rows, 1 bad' cache verify --cache "$folder/rotten.db"
expect 1 '^14 rows written, 1 bad' cache export "$folder/rotten.mjpack" --cache "$folder/rotten.db"
expect 0 '^14 rows, 0 bad' cache verify --cache "$folder/rotten.mjpack"

# prune: by bytes the least recently used, by age, by toolchain; and the file shrinks.
before=$(stat -c %s "$folder/cache/moejit.db")
sqlite3 "$folder/cache/moejit.db" "UPDATE uses SET used = used - 86400 * 10;
    UPDATE uses SET used = used + 86400 * 8 WHERE key_hash = (SELECT key_hash FROM images WHERE CAST(key_text AS TEXT) LIKE '%moejit_zero%')"
expect 0 '^0 keys removed' cache prune --older-than 11
expect 0 '^0 keys removed' cache prune --max-bytes 10000000
expect 0 '^4 keys removed' cache prune --older-than 5
expect 0 'moejit_zero' cache ls
hold test "$(wc -l <"$folder/output")" = 4
hold test "$(stat -c %s "$folder/cache/moejit.db")" -lt "$((before / 2))"
expect 0 '"keys_removed": 0, "rows_of_other_toolchains_removed": 3' cache prune --keep-toolchain 'nvrtc 1.0' --json
expect 0 '^0 keys, 0 rows' cache stats
exit $bad
