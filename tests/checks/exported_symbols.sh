#!/usr/bin/env bash
# The shared library exports what the public header declares, and nothing else.
set -euo pipefail
diff <(nm -D --defined-only "$1" | awk '{print $3}' | sort) \
     <(grep -oE '^MOEJIT_API .*' "$2" | grep -oE 'moejit_[a-z0-9_]+\(' | tr -d '(' | sort)
