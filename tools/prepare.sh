# Sourced by demo.sh and test.sh: packages, CUDA headers and NVRTC, and the build.
# Installs what is missing (Debian, Ubuntu); asks nothing. Where no CUDA toolkit is found, its headers and NVRTC come from
# their pip packages into the build tree.

need_packages() {
    local missing=() pair
    for pair in cmake:cmake ninja:ninja-build cc:gcc c++:g++ pkg-config:pkg-config python3:python3 git:git; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    command -v sqlite3 >/dev/null || missing+=(sqlite3)
    [ -e /usr/include/sqlite3.h ] || missing+=(libsqlite3-dev)
    [ -e /usr/include/xxhash.h ] || missing+=(libxxhash-dev)
    [ -e /usr/include/jansson.h ] || missing+=(libjansson-dev)
    [ -e /usr/include/cmocka.h ] || missing+=(libcmocka-dev)
    [ "${#missing[@]}" -eq 0 ] && return
    local sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# clang with libFuzzer, which the full tests fuzz with.
need_clang() {
    local runtime sudo=""
    runtime=$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a" 2>/dev/null || true)
    [ -e "$runtime" ] && return
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "installing clang"
    DEBIAN_FRONTEND=noninteractive $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends clang libclang-rt-14-dev >/dev/null
}

need_venv() {
    python3 -m venv "$1" 2>/dev/null && return
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    python3 -m venv "$1"
}

# Sets cuda_include; exports MOEJIT_NVRTC_LIBRARY where NVRTC is not where the library looks by itself.
need_cuda() {
    local toolkit
    for toolkit in "${CUDA_HOME:-}" /usr/local/cuda; do
        if [ -n "$toolkit" ] && [ -e "$toolkit/include/nvrtc.h" ] && ls "$toolkit"/lib64/libnvrtc.so.1[2-9]* >/dev/null 2>&1; then
            cuda_include="$toolkit/include"
            [ -n "${MOEJIT_NVRTC_LIBRARY:-}" ] || MOEJIT_NVRTC_LIBRARY=$(ls "$toolkit"/lib64/libnvrtc.so.1[2-9] | tail -1)
            export MOEJIT_NVRTC_LIBRARY
            return
        fi
    done
    local place="$root/build/cuda-pip"
    if [ ! -e "$place/done" ]; then
        echo "no CUDA toolkit: taking its headers and NVRTC from pip packages"
        need_venv "$place"
        "$place/bin/pip" install --quiet 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvtx==13.0.*'
        touch "$place/done"
    fi
    cuda_include=$(dirname "$(find "$place" -name cuda.h | head -1)")
    MOEJIT_NVRTC_LIBRARY=$(find "$place" -name 'libnvrtc.so.1[2-9]' | head -1)
    export MOEJIT_NVRTC_LIBRARY
}

# Exports MOEJIT_NVDISASM: the disassembler that `moejit inspect cost` reads kernels with; from its pip package where no toolkit
# has it. (The first on the index that reads what NVRTC 13.0 makes.)
need_nvdisasm() {
    [ -z "${MOEJIT_NVDISASM:-}" ] || return 0
    local toolkit place="$root/build/nvdisasm-pip"
    for toolkit in "${CUDA_HOME:-}" /usr/local/cuda; do
        if [ -n "$toolkit" ] && [ -x "$toolkit/bin/nvdisasm" ]; then
            export MOEJIT_NVDISASM="$toolkit/bin/nvdisasm"
            return 0
        fi
    done
    if [ ! -e "$place/done" ]; then
        echo "no nvdisasm: taking it from its pip package"
        need_venv "$place"
        "$place/bin/pip" install --quiet 'nvidia-cuda-nvdisasm==13.2.51'
        touch "$place/done"
    fi
    MOEJIT_NVDISASM=$(find "$place" -name nvdisasm -type f | head -1)
    chmod +x "$MOEJIT_NVDISASM"
    export MOEJIT_NVDISASM
}

# build FOLDER [cmake options]
build() {
    local folder="$1"
    shift
    cmake -S "$root" -B "$folder" -G Ninja -DMOEJIT_CUDA_INCLUDE="$cuda_include" "$@" >"$root/build/configure.log" 2>&1 || {
        cat "$root/build/configure.log"
        return 1
    }
    cmake --build "$folder" -j "$(nproc)" >"$root/build/build.log" 2>&1 || {
        cat "$root/build/build.log"
        return 1
    }
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$root/build"
