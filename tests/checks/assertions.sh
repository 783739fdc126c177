# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the checks of the command, which set $moejit and $folder: what a run must say. $bad tells whether all held.
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
# hold TEST...: a fact about files
hold() {
    if ! "$@"; then
        printf 'does not hold: %s\n' "$*"
        bad=1
    fi
}
