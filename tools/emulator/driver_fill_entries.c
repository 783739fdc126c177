// The entry points that set memory to a value.
#include <cuda.h>

#include "driver_capture.h"
#include "driver_copy.h"
#include "driver_entry.h"

struct fill {
    CUdeviceptr destination;
    size_t pitch, columns, rows; // columns of value_bytes each
    uint32_t value;
    size_t value_bytes;
};

static CUresult run_in(struct emu_context *context, const struct fill *fill, CUstream stream) {
    size_t width = 0;
    if (emu_stream_find(context, stream) == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (fill->columns == 0 || fill->rows == 0) return CUDA_SUCCESS;
    if (__builtin_mul_overflow(fill->columns, fill->value_bytes, &width)) return CUDA_ERROR_INVALID_VALUE;
    if (fill->rows > 1 && fill->pitch < width) return CUDA_ERROR_INVALID_VALUE;
    if (fill->destination % fill->value_bytes != 0) return CUDA_ERROR_INVALID_VALUE;
    if (fill->rows > 1 && fill->pitch % fill->value_bytes != 0) return CUDA_ERROR_INVALID_VALUE;
    struct emu_task task = {
        .kind = EMU_TASK_FILL,
        .fill = {.destination = {.address = (uintptr_t)fill->destination, .pitch = fill->pitch, .device = true},
                 .width = width,
                 .height = fill->rows,
                 .value = fill->value,
                 .value_bytes = fill->value_bytes}};
    if (!emu_copy_in_bounds(context, &task.fill.destination, width, fill->rows)) return CUDA_ERROR_INVALID_VALUE;
    return emu_stream_issue(context, stream, &task);
}

// In the default stream's order; the host does not wait for it.
static CUresult run_now(struct emu_context *context, const struct fill *fill) {
    CUresult result = emu_capture_check_implicit(context->legacy);
    if (result == CUDA_SUCCESS) result = emu_capture_check_unsafe();
    return result == CUDA_SUCCESS ? run_in(context, fill, NULL) : result;
}

static struct fill line(CUdeviceptr destination, uint32_t value, size_t value_bytes, size_t count) {
    return (struct fill){destination, 0, count, 1, value, value_bytes};
}

CUresult CUDAAPI cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
    EMU_BEGIN(cuMemsetD8_v2);
    struct fill fill = line(dstDevice, uc, 1, N);
    EMU_END(run_now(context, &fill));
}

CUresult CUDAAPI cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N) {
    EMU_BEGIN(cuMemsetD16_v2);
    struct fill fill = line(dstDevice, us, 2, N);
    EMU_END(run_now(context, &fill));
}

CUresult CUDAAPI cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
    EMU_BEGIN(cuMemsetD32_v2);
    struct fill fill = line(dstDevice, ui, 4, N);
    EMU_END(run_now(context, &fill));
}

CUresult CUDAAPI cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                                 size_t Height) {
    EMU_BEGIN(cuMemsetD2D8_v2);
    struct fill fill = {dstDevice, dstPitch, Width, Height, uc, 1};
    EMU_END(run_now(context, &fill));
}

CUresult CUDAAPI cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                                  size_t Height) {
    EMU_BEGIN(cuMemsetD2D16_v2);
    struct fill fill = {dstDevice, dstPitch, Width, Height, us, 2};
    EMU_END(run_now(context, &fill));
}

CUresult CUDAAPI cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                                  size_t Height) {
    EMU_BEGIN(cuMemsetD2D32_v2);
    struct fill fill = {dstDevice, dstPitch, Width, Height, ui, 4};
    EMU_END(run_now(context, &fill));
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
    EMU_BEGIN(cuMemsetD8Async);
    struct fill fill = line(dstDevice, uc, 1, N);
    EMU_END(run_in(context, &fill, hStream));
}

CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
    EMU_BEGIN(cuMemsetD16Async);
    struct fill fill = line(dstDevice, us, 2, N);
    EMU_END(run_in(context, &fill, hStream));
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
    EMU_BEGIN(cuMemsetD32Async);
    struct fill fill = line(dstDevice, ui, 4, N);
    EMU_END(run_in(context, &fill, hStream));
}

CUresult CUDAAPI cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                                   size_t Height, CUstream hStream) {
    EMU_BEGIN(cuMemsetD2D8Async);
    struct fill fill = {dstDevice, dstPitch, Width, Height, uc, 1};
    EMU_END(run_in(context, &fill, hStream));
}

CUresult CUDAAPI cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                                    size_t Height, CUstream hStream) {
    EMU_BEGIN(cuMemsetD2D16Async);
    struct fill fill = {dstDevice, dstPitch, Width, Height, us, 2};
    EMU_END(run_in(context, &fill, hStream));
}

CUresult CUDAAPI cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                                    size_t Height, CUstream hStream) {
    EMU_BEGIN(cuMemsetD2D32Async);
    struct fill fill = {dstDevice, dstPitch, Width, Height, ui, 4};
    EMU_END(run_in(context, &fill, hStream));
}
