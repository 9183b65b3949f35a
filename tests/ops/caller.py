"""Calls an operator by name through ``pyacl.lib`` with numpy arrays: any strides, any offset, guarded memory around."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

import ml_dtypes
import numpy as np

from pyacl.capi import ffi, lib
from pyacl.emulator.ops.signature import Signature
from pyacl.emulator.ops.types import PACKED, to_code

GUARD = 0x5A
libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]


class Rejected(Exception):
    """Phase one refused: its status and text."""

    def __init__(self, code: int) -> None:
        text = lib.aclGetRecentErrMsg()
        super().__init__(code, ffi.string(text).decode() if text != ffi.NULL else "")
        self.code = code
        self.text = self.args[1]


def check(code: int) -> None:
    if code:
        raise Rejected(code)


# By the number of dimensions, as torch_npu has them: images have formats of their own.
FORMATS = {3: lib.ACL_FORMAT_NCL, 4: lib.ACL_FORMAT_NCHW, 5: lib.ACL_FORMAT_NCDHW}


class Room:
    """An output's tensor that is larger than the result may be: dense, and its shape is asked for afterwards."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype


class Placed:
    """A numpy array put on the device; `rng` draws a layout (dense, permuted, with gaps, behind an offset).

    Half bytes are dense, two in a byte on the device, the first one low; `host` has a byte for each.
    """

    def __init__(self, array: Any, rng: Optional[np.random.Generator] = None) -> None:
        self.dynamic = isinstance(array, Room)
        if isinstance(array, Room):
            array, rng = array.array, None
        array = np.asarray(array)
        self.shape, self.dtype = array.shape, array.dtype
        self.packed = array.dtype in PACKED
        if self.packed:
            rng = None
        order = list(range(array.ndim))
        gaps = [0] * array.ndim
        self.offset = 0
        if rng is not None and rng.random() < 0.6:
            rng.shuffle(order)
            gaps = [int(rng.random() < 0.3) for _ in order]
            self.offset = int(rng.integers(0, 5))
        strides, step = [0] * array.ndim, 1
        for axis in reversed(order):
            strides[axis] = step
            step *= max(array.shape[axis], 1) + gaps[axis]
        self.strides = tuple(strides)
        self.host = np.full((self.offset + step) * array.dtype.itemsize, GUARD, np.uint8)
        self.elements(self.host)[...] = array
        self.before = self.host.copy()
        out = ffi.new("void **")
        check(lib.aclrtMalloc(out, max(self.host.nbytes, 1), lib.ACL_MEM_MALLOC_HUGE_FIRST))
        self.pointer = out[0]
        self.upload()
        dims = ffi.new("int64_t[]", list(self.shape))
        strides_c = ffi.new("int64_t[]", list(self.strides))
        storage = ffi.new("int64_t[]", [self.offset + step])
        self.handle = lib.aclCreateTensor(dims, array.ndim, to_code(self.dtype), strides_c, self.offset,
                                          FORMATS.get(array.ndim, lib.ACL_FORMAT_ND), storage, 1, self.pointer)
        assert self.handle != ffi.NULL

    def describe(self, shape: tuple[int, ...], format: int) -> None:
        """Describes the memory as a tensor of that shape in a private format: what was placed is its storage."""
        dims, storage = ffi.new("int64_t[]", list(shape)), ffi.new("int64_t[]", list(self.shape))
        check(lib.aclInitTensor(self.handle, dims, len(shape), to_code(self.dtype), ffi.NULL, 0, format, storage,
                                len(self.shape), self.pointer))

    def elements(self, raw: Any) -> Any:
        size = self.dtype.itemsize
        return np.ndarray(self.shape, self.dtype, raw, self.offset * size, tuple(s * size for s in self.strides))

    def upload(self) -> None:
        raw = self.host
        if self.packed:
            nibbles = np.append(raw & 15, np.zeros(raw.size % 2, np.uint8))
            raw = nibbles[::2] | nibbles[1::2] << 4
        if raw.nbytes:
            check(lib.aclrtMemcpy(self.pointer, raw.nbytes, ffi.from_buffer(raw), raw.nbytes,
                                  lib.ACL_MEMCPY_HOST_TO_DEVICE))

    def read(self) -> Any:
        """What the device holds now; nothing outside of the view may have changed."""
        n = (self.host.nbytes + 1) // 2 if self.packed else self.host.nbytes
        raw = np.empty(n, np.uint8)
        if n:
            check(lib.aclrtMemcpy(ffi.from_buffer(raw), n, self.pointer, n, lib.ACL_MEMCPY_DEVICE_TO_HOST))
        self.host[:] = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[:self.host.size] if self.packed else raw
        found = self.elements(self.host).copy()
        if self.dynamic:
            shape = self.view_shape()
            return found.reshape(-1)[:int(np.prod(shape, dtype=np.int64))].reshape(shape)
        check_host, check_before = self.host.copy(), self.before.copy()
        zero = np.zeros((), self.dtype)
        self.elements(check_host)[...] = zero
        self.elements(check_before)[...] = zero
        assert (check_host == check_before).all(), "the operator wrote outside of its output"
        return found

    def view_shape(self) -> tuple[int, ...]:
        dims, count = ffi.new("int64_t **"), ffi.new("uint64_t *")
        check(lib.aclGetViewShape(self.handle, dims, count))
        shape = tuple(dims[0][i] for i in range(count[0]))
        libc.free(int(ffi.cast("uintptr_t", dims[0])))
        return shape

    def free(self, destroy: bool = True) -> None:
        if destroy:
            check(lib.aclDestroyTensor(self.handle))
        check(lib.aclrtFree(self.pointer))


def placed(value: Any, rng: Optional[np.random.Generator]) -> Placed:
    """An array on the device, or a matrix in a private format, which says how it is `stored`."""
    if not hasattr(value, "stored"):
        return Placed(value, rng)
    found = Placed(value.stored())
    found.describe(value.shape, lib.ACL_FORMAT_FRACTAL_NZ)
    return found


class Call:
    """One call's C arguments. `values` has one entry for each parameter of the prototype, outputs too:

    numpy array or list of arrays, numpy scalar for aclScalar, tuple, str, numbers, numpy dtype, None for NULL.
    """

    def __init__(self, signature: Signature, values: list[Any], rng: Optional[np.random.Generator] = None) -> None:
        self.signature = signature
        self.placed: list[Any] = []  # Placed, list of them, or None, by parameter
        self.arguments: list[Any] = []
        self._keep: list[Any] = []
        self._destroy: list[Any] = []
        for parameter, value in zip(signature.parameters, values):
            self.placed.append(None)
            self.arguments.append(self._argument(parameter.kind, value, rng))

    def _argument(self, kind: str, value: Any, rng: Any) -> Any:
        if kind == "plain":
            return value
        if kind == "dtype":
            return -1 if value is None else to_code(np.dtype(value))
        if value is None:
            return ffi.NULL
        if kind == "tensor":
            self.placed[-1] = placed(value, rng)
            return self.placed[-1].handle
        if kind == "tensors":
            self.placed[-1] = [None if v is None else placed(v, rng) for v in value]
            members = ffi.new("aclTensor *[]", [ffi.NULL if p is None else p.handle for p in self.placed[-1]])
            made = lib.aclCreateTensorList(members, len(value))
            self._destroy.append((lib.aclDestroyTensorList, made))
            return made
        if kind == "text":
            self._keep.append(ffi.new("char[]", value.encode()))
            return self._keep[-1]
        if kind == "scalar":
            made = self._scalar(value)
            self._destroy.append((lib.aclDestroyScalar, made))
            return made
        if kind == "scalars":
            members = ffi.new("aclScalar *[]", [self._scalar(v) for v in value])
            made = lib.aclCreateScalarList(members, len(value))
            self._destroy.append((lib.aclDestroyScalarList, made))
            return made
        item, create, destroy = {
            "ints": ("int64_t[]", lib.aclCreateIntArray, lib.aclDestroyIntArray),
            "floats": ("float[]", lib.aclCreateFloatArray, lib.aclDestroyFloatArray),
            "bools": ("bool[]", lib.aclCreateBoolArray, lib.aclDestroyBoolArray)}[kind]
        made = create(ffi.new(item, list(value)), len(value))
        self._destroy.append((destroy, made))
        return made

    @staticmethod
    def _scalar(value: Any) -> Any:
        array = np.asarray(value).reshape(1)
        raw = ffi.from_buffer(array.view(np.uint8))
        made = lib.aclCreateScalar(ffi.cast("void *", raw), to_code(array.dtype))
        assert made != ffi.NULL
        return made

    def phase_one(self) -> tuple[int, Any]:
        """Workspace size and executor; raises `Rejected`."""
        size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
        check(getattr(lib, self.signature.name + "GetWorkspaceSize")(*self.arguments, size, executor))
        return int(size[0]), executor[0]

    def run(self) -> list[Any]:
        """Both phases on the default stream; the outputs, lists as lists."""
        size, executor = self.phase_one()
        workspace = ffi.new("void **")
        if size:
            check(lib.aclrtMalloc(workspace, size, lib.ACL_MEM_MALLOC_HUGE_FIRST))
        check(lib.launch(getattr(lib, self.signature.name), workspace[0] if size else ffi.NULL, size, executor,
                         ffi.NULL))
        check(lib.aclrtSynchronizeStream(ffi.NULL))
        if size:
            check(lib.aclrtFree(workspace[0]))
        found: list[Any] = []
        for parameter, placed in zip(self.signature.parameters, self.placed):
            if "o" in parameter.role:
                found.append([p.read() for p in placed] if isinstance(placed, list)
                             else None if placed is None else placed.read())
        return found

    def close(self) -> None:
        for destroy, handle in self._destroy:
            check(destroy(handle))
        for placed in self.placed:
            for p in placed if isinstance(placed, list) else [placed]:
                if p is not None:
                    p.free(destroy=not isinstance(placed, list))


def bf16(values: Any) -> Any:
    return np.asarray(values, ml_dtypes.bfloat16)
