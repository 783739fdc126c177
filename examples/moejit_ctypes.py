"""moejit through ctypes: the structs of include/moejit/moejit.h and a checked call for each function that a host needs.

The structs carry their size, and zero means the default, so they are filled here and not by the library's initialisers:
those write as many bytes as *their* struct has, which a newer library may have made longer than this file knows.
"""

import ctypes
from ctypes import Structure, byref, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p

ATTACH_CURRENT, ATTACH_PRIMARY = 0, 1
SWIGLU = 0
BF16, F16, F32, NVFP4 = 1, 2, 3, 4  # moejit_dtype
ATOMIC, DETERMINISTIC, BATCH_INVARIANT = 1, 2, 3
OVERWRITE, ACCUMULATE, ASSUME_ZERO = 0, 1, 2


class Sized(Structure):
    """A struct of the ABI: struct_size is filled in, everything not named is zero."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(type(self)), **fields)


class Layer(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("hidden", c_int32),
        ("intermediate", c_int32),
        ("num_experts", c_int32),
        ("num_local_experts", c_int32),
        ("local_expert_offset", c_int32),
        ("top_k", c_int32),
        ("activation", c_int),
        ("activation_alpha", c_float),
        ("activation_beta", c_float),
        ("activation_limit", c_float),
        ("activation_format", c_int),
        ("input_format", c_int),
        ("output_dtype", c_int),
        ("gate_up_bias_dtype", c_int),
        ("down_bias_dtype", c_int),
        ("gate_up_row_order", c_int),
        ("scale_layout", c_int),
        ("split_gate_up_alpha", c_int32),
        ("per_expert_intermediate_scale", c_int32),
        ("router_weight_on_input", c_int32),
        ("sum", c_int),
    ]


class ContextOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("attach", c_int),
        ("device_ordinal", c_int32),
        ("arch", c_char_p),
        ("cuda_library", c_char_p),
        ("nvrtc_library", c_char_p),
        ("cache_path", c_char_p),
        ("kernel_sources_dir", c_char_p),
        ("log", c_void_p),
        ("log_user", c_void_p),
    ]


class Checkpoint(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("gate_up", c_void_p),
        ("gate_up_scale", c_void_p),
        ("down", c_void_p),
        ("down_scale", c_void_p),
    ]


class PlanOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("max_num_tokens", c_int32),
        ("tile", c_int32),
        ("partials_cap_bytes", c_size_t),
        ("progress", c_void_p),
        ("progress_user", c_void_p),
        ("family", c_int),
    ]


class ExecutorOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("auxiliary_stream", c_void_p), ("single_stream", c_int32),
                ("serial_launches", c_int32), ("separate_route", c_int32), ("max_tile_ctas", c_int32)]


class ExecutorCounters(Sized):
    _fields_ = [("struct_size", c_size_t), ("forwards", c_int64), ("launches", c_int64), ("bytes_zeroed", c_int64)]


class Tensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("dtype", c_int),
        ("rows", c_int64),
        ("columns", c_int64),
        ("row_stride", c_int64),
    ]


class ForwardArgs(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("num_tokens", c_int32),
        ("x", Tensor),
        ("x_scale", c_void_p),
        ("expert_ids", c_void_p),
        ("router_weights", c_void_p),
        ("live_tokens", c_void_p),
        ("gate_up_alpha", c_void_p),
        ("down_alpha", c_void_p),
        ("gate_up_bias", c_void_p),
        ("down_bias", c_void_p),
        ("input_scale", c_void_p),
        ("intermediate_scale", c_void_p),
        ("output", Tensor),
        ("output_mode", c_int),
        ("workspace", c_void_p),
        ("workspace_bytes", c_size_t),
        ("check_pointers", c_int32),
    ]


class MoejitError(RuntimeError):
    """The library's own sentence."""


class Moejit:
    """One library and one context of it. Handles are plain pointers; the caller keeps device memory alive."""

    def __init__(self, library, attach=ATTACH_CURRENT, cuda_library=None, cache_path=None):
        self.library = ctypes.CDLL(library)  # RTLD_LOCAL: its SQLite does not meet another's
        self._declare()
        options = ContextOptions(
            attach=attach,
            cuda_library=cuda_library and str(cuda_library).encode(),
            cache_path=None if cache_path is None else str(cache_path).encode(),
        )
        self.context, message = c_void_p(), ctypes.create_string_buffer(1024)
        status = self.library.moejit_context_create(byref(options), byref(self.context), message, len(message))
        if status != 0:
            raise MoejitError(message.value.decode())

    def _declare(self):
        for name in ("context_error", "context_arch", "context_compiler", "executor_error", "version"):
            getattr(self.library, f"moejit_{name}").restype = c_char_p
        self.library.moejit_plan_workspace_bytes.restype = c_size_t
        for name in ("context", "plan", "weights", "executor"):
            getattr(self.library, f"moejit_{name}_destroy").restype = None
        self.library.moejit_executor_counters_read.restype = None

    def _check(self, status):
        if status != 0:
            raise MoejitError(self.library.moejit_context_error(self.context).decode())

    def arch(self):
        return self.library.moejit_context_arch(self.context).decode()

    def weights_bytes(self, layer):
        size = c_size_t()
        self._check(self.library.moejit_weights_bytes(self.context, byref(layer), byref(size)))
        return size.value

    def weights(self, layer, memory, size):
        weights = c_void_p()
        self._check(
            self.library.moejit_weights_create(self.context, byref(layer), c_void_p(memory), c_size_t(size), byref(weights))
        )
        return weights

    def pack(self, weights, checkpoint, first, count, stream):
        """Packs experts [first, first + count) and waits for the stream."""
        self._check(self.library.moejit_weights_pack(weights, byref(checkpoint), first, count, c_void_p(stream)))

    def plan(self, layer, max_num_tokens):
        """May compile: call it while the model loads, never during a request."""
        plan, options = c_void_p(), PlanOptions(max_num_tokens=max_num_tokens)
        self._check(self.library.moejit_plan_create(self.context, byref(layer), byref(options), byref(plan)))
        return plan

    def workspace_bytes(self, plan):
        return self.library.moejit_plan_workspace_bytes(plan)

    def executor(self, single_stream=False):
        executor, options = c_void_p(), ExecutorOptions(single_stream=int(single_stream))
        self._check(self.library.moejit_executor_create(self.context, byref(options), byref(executor)))
        return executor

    def forward(self, plan, weights, args, executor, stream):
        """Only launches; legal while `stream` is being captured."""
        if self.library.moejit_forward(plan, weights, byref(args), executor, c_void_p(stream)) != 0:
            raise MoejitError(self.library.moejit_executor_error(executor).decode())

    def counters(self, executor):
        counters = ExecutorCounters()
        self.library.moejit_executor_counters_read(executor, byref(counters))
        return counters

    def destroy(self, executor=None, plan=None, weights=None):
        """Any of the handles; then close() ends the context."""
        for name, handle in (("executor", executor), ("plan", plan), ("weights", weights)):
            if handle is not None:
                getattr(self.library, f"moejit_{name}_destroy")(handle)

    def close(self):
        self.library.moejit_context_destroy(self.context)
        self.context = None
