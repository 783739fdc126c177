#!/usr/bin/env bash
# The public header compiles alone, as C11 and as C++17, with every warning, and needs no CUDA header.
set -euo pipefail
header="$1/include/moejit/moejit.h"
flags=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only)
"${CC:-cc}" -std=c11 "${flags[@]}" -x c "$header" 2>&1 | { ! grep -v 'pragma once'; }
"${CXX:-c++}" -std=c++17 "${flags[@]}" -x c++ "$header" 2>&1 | { ! grep -v 'pragma once'; }
! grep -nE '#include <(cuda|nvrtc)' "$header"
