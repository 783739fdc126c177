#!/usr/bin/env bash
# The public headers compile alone, as C11 and as C++17, with every warning, and need no CUDA header.
set -euo pipefail
flags=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only "-I$1/include")
for header in "$1"/include/moejit/*.h; do
    "${CC:-cc}" -std=c11 "${flags[@]}" -x c "$header" 2>&1 | { ! grep -v 'pragma once'; }
    "${CXX:-c++}" -std=c++17 "${flags[@]}" -x c++ "$header" 2>&1 | { ! grep -v 'pragma once'; }
    ! grep -nE '#include <(cuda|nvrtc)' "$header"
done
