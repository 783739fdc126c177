#!/usr/bin/env bash
# Places where a cache cannot be, or not be written: the kernels are made all the same, with one warning that says why, and
# what is somebody else's stays as it is. With the fake NVRTC: $1 the command, $2 the fake. What a machine does not allow
# (mounts, another user) is left out, and said.
set -euo pipefail
moejit=$1
export MOEJIT_NVRTC_LIBRARY=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset MOEJIT_CACHE_DIR MOEJIT_CACHE_PACKS MOEJIT_CACHE_MAX_BYTES MOEJIT_KERNEL_SOURCES_DIR MOEJIT_COMPILE_WORKERS XDG_CACHE_HOME
fill=("$moejit" prefill --hidden 64 --intermediate 32 --experts 4 --top-k 2 --arch sm_80 --max-tokens 1)
bad=0

# works COMPILED WARNING COMMAND...: good exit, so many compiled, and exactly one warning that matches ("": none)
works() {
    local compiled=$1 warning=$2 status=0 wanted=1
    shift 2
    "$@" >"$folder/output" 2>&1 || status=$?
    [ -n "$warning" ] || wanted=0
    if [ "$status" != 0 ] || ! grep -q "5 kernels: $compiled compiled" "$folder/output" ||
        [ "$(grep 'warning: ' "$folder/output" | sort -u | wc -l)" != $wanted ] ||
        { [ $wanted = 1 ] && ! grep -qE "warning: kernel cache: $warning" "$folder/output"; }; then
        printf '%s\nexit status %s; wanted %s compiled and a warning with "%s"; it said:\n' "$*" "$status" "$compiled" "$warning"
        cat "$folder/output"
        bad=1
    fi
}

# Nowhere.
works 5 'memory only: none of MOEJIT_CACHE_DIR, XDG_CACHE_HOME and HOME names a usable place$' env -u HOME "${fill[@]}"
touch "$folder/file"
works 5 '.* is not used, memory is: cannot make the folder .*file/.cache: Not a directory$' env HOME="$folder/file" "${fill[@]}"
# Somewhere.
works 5 '' env HOME="$folder/home" "${fill[@]}"
works 0 '' env HOME="$folder/home" "${fill[@]}"
# A HOME that is a link is the user's own affair; a database that is one is not.
ln -s home "$folder/link"
works 0 '' env HOME="$folder/link" "${fill[@]}"
mkdir -m 700 "$folder/linked"
ln -s "$folder/home/.cache/moejit/moejit.db" "$folder/linked/moejit.db"
works 5 '.*linked/moejit.db is not an ordinary file$' "${fill[@]}" --cache "$folder/linked/moejit.db"
# Others may write the folder, or the file.
mkdir -m 777 "$folder/open"
chmod 777 "$folder/open"
works 5 '.*/open may be written by other users$' "${fill[@]}" --cache "$folder/open/k.db"
[ ! -e "$folder/open/k.db" ] || { echo "a file was made in a folder that all may write"; bad=1; }
cp "$folder/home/.cache/moejit/moejit.db" "$folder/linked/k.db"
chmod 620 "$folder/linked/k.db"
works 5 '.*linked/k.db may be written by other users$' "${fill[@]}" --cache "$folder/linked/k.db"
chmod 600 "$folder/linked/k.db"
works 0 '' "${fill[@]}" --cache "$folder/linked/k.db"
# A folder where the file should be; a device; a name that is too long.
mkdir -m 700 "$folder/linked/d.db"
works 5 '.*linked/d.db is not an ordinary file$' "${fill[@]}" --cache "$folder/linked/d.db"
works 5 '.*' "${fill[@]}" --cache /dev/null
works 5 'memory only: cache_path is too long a path$' "${fill[@]}" --cache "$folder/$(printf 'x%.0s' $(seq 1100))"

# Another user's file and folder; a folder that we may not enter.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && setpriv --reuid=65534 --clear-groups test -x "$moejit"; then
    as_nobody=(setpriv --reuid=65534 --clear-groups)
    chown 65534 "$folder/linked/k.db"
    works 5 '.*linked/k.db belongs to another user$' "${fill[@]}" --cache "$folder/linked/k.db"
    chown 0 "$folder/linked/k.db"
    chmod 755 "$folder"
    works 5 '.*linked belongs to another user$' "${as_nobody[@]}" "${fill[@]}" --cache "$folder/linked/k.db"
    mkdir -m 500 "$folder/shut"
    chown 65534 "$folder/shut"
    works 5 '.*shut/k.db Permission denied$' "${as_nobody[@]}" "${fill[@]}" --cache "$folder/shut/k.db"
    works 5 '.*cannot make the folder .*shut/sub: Permission denied$' "${as_nobody[@]}" "${fill[@]}" --cache "$folder/shut/sub/k.db"
elif [ "$(id -u)" != 0 ]; then
    mkdir -m 500 "$folder/shut"
    works 5 '.*cannot make the folder .*shut/sub: Permission denied$' "${fill[@]}" --cache "$folder/shut/sub/k.db"
    echo "not root: another user's files are left out"
else
    echo "no setpriv, or nobody may not run the command: other users are left out"
fi

# A full disk, and one that can only be read. $1 of the inner shell: the mount's options.
if unshare -rm true 2>/dev/null; then
    export -f works
    mkdir "$folder/disk"
    in_mount() { unshare -rm bash -c 'folder=$1 bad=0; shift; mount -t tmpfs -o size=160k,mode=700 none "$folder/disk"; '"$1"'; exit $bad' - "$folder" "${fill[@]}" || bad=1; }
    in_mount 'works 5 "images are kept in memory only from here on: database or disk is full$" "$@" --cache "$folder/disk/k.db"
        [ "$(sqlite3 "$folder/disk/k.db" "PRAGMA integrity_check")" = ok ] || bad=1'
    in_mount 'mount -o remount,ro "$folder/disk"
        works 5 ".*disk/k.db is not used, memory is: .*k.db Read-only file system$" "$@" --cache "$folder/disk/k.db"'
    # What is on it already is used; what is not is kept in memory.
    in_mount 'mount -o remount,size=4m "$folder/disk"
        works 5 "" "$@" --cache "$folder/disk/k.db"
        mount -o remount,ro "$folder/disk"
        works 0 "" "$@" --cache "$folder/disk/k.db"
        works 5 "images are kept in memory only from here on: attempt to write a readonly database$" "$@" --hidden 128 --sum deterministic --arch sm_89 --cache "$folder/disk/k.db"'
else
    echo "no mounts of our own here: full and read-only disks are left out"
fi
exit $bad
