// Ordinary CUDA C++ whose PTX test_machine_kernels.c runs; the .ptx files beside this were made by tools of CUDA 13.0:
// nvcc -ptx -gencode arch=compute_80,code=compute_80 kernels.cu -o kernels_sm80.ptx (and 89, 90a).
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

extern "C" __global__ void saxpy(int n, float a, const float *x, float *y)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void __launch_bounds__(256) reduce(const float *x, float *sums, int n)
{
    __shared__ float parts[8];
    float sum = 0;
    for (int i = threadIdx.x + blockIdx.x * blockDim.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < 8 ? parts[threadIdx.x] : 0;
        for (int d = 4; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffffu, sum, d);
        if (threadIdx.x == 0) sums[blockIdx.x] = sum;
    }
}

struct Matrices {
    const float *a, *b;
    float *c;
    int m, n, k;
};

extern "C" __global__ void matmul(const __grid_constant__ Matrices p)
{
    __shared__ float a[16][17], b[16][17];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < p.k; k += 16) {
        a[threadIdx.y][threadIdx.x] = row < p.m && k + threadIdx.x < p.k ? p.a[row * p.k + k + threadIdx.x] : 0;
        b[threadIdx.y][threadIdx.x] = column < p.n && k + threadIdx.y < p.k ? p.b[(k + threadIdx.y) * p.n + column] : 0;
        __syncthreads();
        for (int i = 0; i < 16; i++) sum = fmaf(a[threadIdx.y][i], b[i][threadIdx.x], sum);
        __syncthreads();
    }
    if (row < p.m && column < p.n) p.c[row * p.n + column] = sum;
}

// D[16, 8] += A[16, k] B[8, k]^T with cp.async, ldmatrix and mma; one warp.
extern "C" __global__ void gemm_bf16(const uint16_t *a, const uint16_t *b, float *d, int k)
{
    extern __shared__ __align__(16) unsigned char memory[];
    uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    int lane = threadIdx.x;
    float c[4] = {0, 0, 0, 0};
    for (int first = 0; first < k; first += 16) {
        // 16 + 8 rows of 32 bytes
        for (int i = lane; i < 48; i += 32) {
            int row = i / 2, half = i % 2;
            const uint16_t *from = (row < 16 ? a + row * k : b + (row - 16) * k) + first + half * 8;
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(base + row * 32 + half * 16), "l"(from));
        }
        asm volatile("cp.async.commit_group;\n cp.async.wait_group 0;" ::: "memory");
        __syncwarp();
        uint32_t x[4], y[2];
        uint32_t row_a = base + (lane % 16) * 32 + lane / 16 * 16, row_b = base + 512 + (lane % 8) * 32 + lane / 8 % 2 * 16;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                     : "r"(row_a));
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(y[0]), "=r"(y[1]) : "r"(row_b));
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
        __syncwarp();
    }
    int row = lane / 4, column = lane % 4 * 2;
    d[row * 8 + column] = c[0], d[row * 8 + column + 1] = c[1];
    d[(row + 8) * 8 + column] = c[2], d[(row + 8) * 8 + column + 1] = c[3];
}

extern "C" __global__ void histogram(const uint8_t *x, unsigned *counts, unsigned long long *total, float *sum, int n)
{
    __shared__ unsigned local[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x + blockIdx.x * blockDim.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) {
        if (local[i] != 0) atomicAdd(&counts[i], local[i]);
        if (local[i] != 0) atomicAdd(total, (unsigned long long)local[i]);
        if (local[i] != 0) atomicAdd(sum, static_cast<float>(local[i]));
    }
}

__constant__ int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__device__ double offset = 0.5;

__device__ __noinline__ int twist(int a, int b)
{
    if (a > b) return a - b;
    return a * 2 + b;
}

// Branches of every kind: a switch, a loop with breaks, calls, integer division, 64-bit arithmetic.
extern "C" __global__ void branches(const int *x, long long *y, double *z, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i];
    long long result = 0;
    switch (v & 7) {
    case 0: result = v / 3; break;
    case 1: result = v % 7; break;
    case 2: result = static_cast<long long>(v) * v; break;
    case 3: result = __popc(v) + __clz(v) * 100; break;
    case 4: result = twist(v, i); break;
    case 5: result = table[i & 7]; break;
    case 6: result = static_cast<long long>(v) * 1000003 / 17; break;
    default: result = __brev(v); break;
    }
    for (int j = 0; j < 100; j++) {
        if (((v + j) & 31) == 0) break;
        result += j;
    }
    y[i] = result;
    z[i] = static_cast<double>(v) / 3.0 + offset + static_cast<double>(result);
}

extern "C" __global__ void halves(const __half2 *x, const __nv_bfloat162 *y, float *f, __half2 *h, __nv_bfloat162 *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    h[i] = __hfma2(x[i], x[i], __hadd2(x[i], x[(i + 1) % n]));
    b[i] = __hfma2(y[i], y[(i + 1) % n], y[(i + 2) % n]);
    f[i] = __half2float(__low2half(x[i])) + __bfloat162float(__high2bfloat16(y[i]));
}

extern "C" __global__ void mathematics(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[8 * i + 0] = expf(v);
    y[8 * i + 1] = logf(fabsf(v) + 1.0f);
    y[8 * i + 2] = sinf(v);
    y[8 * i + 3] = tanhf(v);
    y[8 * i + 4] = sqrtf(fabsf(v));
    y[8 * i + 5] = v / 3.0f;
    y[8 * i + 6] = rsqrtf(fabsf(v) + 1.0f);
    y[8 * i + 7] = fminf(fmaxf(v, -1.0f), 1.0f);
}
