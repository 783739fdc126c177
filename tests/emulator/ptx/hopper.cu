// A Hopper GEMM as they are written: a producer warpgroup has B copied in bulk, two consumer warpgroups multiply with A
// from registers. nvcc -ptx -gencode arch=compute_90a,code=compute_90a hopper.cu -o hopper_sm90a.ptx
#include <stdint.h>

#define STAGES 3
#define STAGE_BYTES 8192 // 64 columns of 64 k, bf16, swizzled by 128 bytes

static __device__ uint32_t shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

static __device__ void wait(uint32_t barrier, uint32_t parity)
{
    asm volatile("{\n.reg .pred done;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra AGAIN;\n}\n" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

static __device__ void produce(uint32_t stages, uint32_t full, uint32_t empty, const uint8_t *b, int num_tiles)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x % 128 != 0) return;
    for (int tile = 0; tile < num_tiles; tile++) {
        uint32_t stage = (uint32_t)(tile % STAGES), round = (uint32_t)(tile / STAGES);
        wait(empty + 8 * stage, (round & 1) ^ 1);
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full + 8 * stage), "r"(STAGE_BYTES)
                     : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                         stages + stage * STAGE_BYTES),
                     "l"(b + (size_t)tile * STAGE_BYTES), "r"(STAGE_BYTES), "r"(full + 8 * stage)
                     : "memory");
    }
}

static __device__ void multiply(float d[32], const uint32_t a[4], uint64_t descriptor)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
                 "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
                 "%31}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                   "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),
                   "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
                   "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),
                   "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(descriptor));
}

// A row's 16 k for the lane, and eight rows below.
static __device__ void load_a(uint32_t a[4], const uint16_t *row, int depth, int k)
{
    const uint32_t *above = (const uint32_t *)(row + k), *below = (const uint32_t *)(row + (size_t)8 * depth + k);
    a[0] = above[0], a[1] = below[0], a[2] = above[4], a[3] = below[4];
}

extern "C" __global__ void __launch_bounds__(384) hopper(const uint16_t *a, const uint8_t *b, float *d, int depth)
{
    extern __shared__ __align__(1024) uint8_t stages[];
    __shared__ __align__(8) uint64_t barriers[2 * STAGES];
    uint32_t full = shared_address(barriers), empty = full + 8 * STAGES, base = shared_address(stages);
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < STAGES; i++) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(full + 8 * i) : "memory");
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 2;" ::"r"(empty + 8 * i) : "memory");
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    int num_tiles = depth / 64, group = (int)threadIdx.x / 128 - 1;
    if (group < 0) {
        produce(base, full, empty, b, num_tiles);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    int lane = threadIdx.x % 32, row = group * 64 + (int)threadIdx.x % 128 / 32 * 16 + lane / 4;
    const uint16_t *from = a + (size_t)row * depth + lane % 4 * 2;
    float sums[32] = {};
    for (int tile = 0; tile < num_tiles; tile++) {
        uint32_t stage = (uint32_t)(tile % STAGES), fragments[4][4];
        uint64_t descriptor = ((base + stage * STAGE_BYTES) & 0x3ffff) >> 4 | (uint64_t)1 << 16 | (uint64_t)64 << 32 |
                              (uint64_t)1 << 62;
        for (int k = 0; k < 4; k++) load_a(fragments[k], from, depth, tile * 64 + 16 * k);
        wait(full + 8 * stage, (uint32_t)(tile / STAGES) & 1);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        for (int k = 0; k < 4; k++) multiply(sums, fragments[k], descriptor + 2 * k);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        if (threadIdx.x % 128 == 0) {
            asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(empty + 8 * stage) : "memory");
        }
    }
    for (int i = 0; i < 32; i++) d[(row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
}
