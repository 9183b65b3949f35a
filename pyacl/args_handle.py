"""The arguments of a kernel, built once and launched often."""

from __future__ import annotations

import operator
import threading
import weakref
from typing import TYPE_CHECKING, Any, Iterable, Optional

import numpy as np

from . import errors
from .capi import ffi, lib
from .memory import DeviceBuffer, HostBuffer
from .resource import Resource, keep_while_in_flight, uses_changed

if TYPE_CHECKING:
    from .kernel import Kernel

_MAX_ARGUMENTS = 128
_DEFAULT_BYTES = 8192
_ORDER = "append all arguments, fill the placeholders, finalize, launch"


class _Thread(threading.local):
    """The one list that the runtime keeps for each thread."""

    current: Optional[weakref.ref[ArgsHandle]] = None


_thread = _Thread()


def encode(value: Any) -> bytes:
    """An argument as the bytes that the kernel gets: an address in 8 bytes, or the value itself."""
    if isinstance(value, np.generic):
        return value.tobytes()
    if isinstance(value, bytes):
        return value
    if isinstance(value, DeviceBuffer):
        value.handle  # noqa: B018  (an error when it is closed)
        return value.address.to_bytes(8, "little")
    if value is None:
        return bytes(8)
    if isinstance(value, HostBuffer):
        raise TypeError("a HostBuffer is host memory, which a kernel cannot read: copy it to a DeviceBuffer")
    if isinstance(value, np.ndarray):
        raise TypeError("a numpy array is host memory: give Tensor.from_numpy(array), or array.tobytes() to pass its "
                        "bytes by value")
    if isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"{value!r} has no size in C: give a numpy scalar such as np.uint32({value!r})")
    if isinstance(getattr(value, "buffer", None), DeviceBuffer):  # a Tensor
        return int(value.address).to_bytes(8, "little")
    if hasattr(value, "data_ptr"):
        device = str(getattr(value, "device", ""))
        if not device.startswith("npu"):
            raise TypeError(f"a tensor on {device or 'an unknown device'} is not device memory: move it to the NPU")
        return int(value.data_ptr()).to_bytes(8, "little")
    try:
        return bytes(memoryview(value).cast("B"))
    except TypeError:
        raise TypeError(f"{value!r} cannot be a kernel's argument: give a Tensor, a DeviceBuffer, a numpy scalar, "
                        "bytes, or None for a null pointer") from None


class ArgsHandle(Resource):
    """The argument list of `kernel` (aclrtKernelArgsInitByUserMem).

    `append` the arguments in the order of the kernel's declaration, fill the placeholders, `finalize`, launch. After
    `update` it must be finalized again. What was appended stays alive with it.

    `nbytes` is the room for arguments and placeholders' data together, each rounded up to 8 bytes. ``memory="runtime"``
    uses the list that the runtime keeps for this thread instead (aclrtKernelArgsInit): there is one, and the next such
    ArgsHandle in the thread wipes it.

    A placeholder is an argument whose data (shapes, tiling; less than 2 KB) travels with the launch: the kernel gets a
    pointer to it.
    """

    __slots__ = ("kernel", "launchable", "_memory", "_params", "_sizes", "_values", "_base", "_room", "_used",
                 "_state")

    _warns = False
    _composite = True
    kernel: Kernel
    launchable: Any  # the handle while it may be launched, else None

    def __init__(self, kernel: Kernel, *, nbytes: int = _DEFAULT_BYTES, memory: str = "user") -> None:
        from .kernel import Kernel

        if not isinstance(kernel, Kernel):
            raise TypeError(f"an ArgsHandle is of a Kernel (binary.function(name)), not of {kernel!r}")
        if memory not in ("user", "runtime"):
            raise ValueError(f"memory={memory!r}: give 'user' or 'runtime'")
        self.kernel = kernel
        self.launchable = None
        self._params: list[Any] = []  # the arguments' handles
        self._sizes: list[int] = []  # bytes of each argument; of a placeholder the negative size of its data
        self._values: list[Any] = []  # what must live as long as the list
        self._state = "open"  # then "placing", "final"; "wiped" when the runtime's memory was taken over
        self._used = 0
        if memory == "runtime":
            out = ffi.new("aclrtArgsHandle *")
            code = lib.aclrtKernelArgsInit(kernel.handle, out)
            if code:
                kernel._again(code, "aclrtKernelArgsInit", kernel.handle, out)
            before = _thread.current() if _thread.current is not None else None
            if before is not None:
                before._wipe()
            _thread.current = weakref.ref(self)
            self._memory, self._base, self._room = None, 0, 0
            self._own(out[0], kernel)
            return
        self._room = operator.index(nbytes)
        if self._room < 1:
            raise ValueError(f"a list with room for {nbytes} bytes cannot hold an argument")
        size = ffi.new("size_t *")
        code = lib.aclrtKernelArgsGetHandleMemSize(kernel.handle, size)
        if code:
            kernel._again(code, "aclrtKernelArgsGetHandleMemSize", kernel.handle, size)
        handle = ffi.new("uint64_t[]", size[0] // 8 + 1)
        errors.check(lib.aclrtKernelArgsGetMemSize(kernel.handle, self._room, size), "aclrtKernelArgsGetMemSize")
        block = ffi.new("uint64_t[]", size[0] // 8 + 1)
        code = lib.aclrtKernelArgsInitByUserMem(kernel.handle, handle, block, size[0])
        errors.check(code, "aclrtKernelArgsInitByUserMem")
        self._memory = (handle, block)
        self._base = int(ffi.cast("uintptr_t", block))
        self._own(ffi.cast("void *", handle), kernel)

    def append(self, value: Any) -> int:
        """Appends an argument (aclrtKernelArgsAppend) and gives its index.

        A Tensor or DeviceBuffer is passed as its address, whatever its strides, None as a null pointer, a numpy scalar
        or bytes by value. Raises TypeError for what has no size in C, ValueError when the kernel takes another size or
        there is no room, RuntimeError after `placeholder_buffer` or `finalize`.
        """
        data = encode(value)
        needed = self._needed("append", len(data), 0)
        out = ffi.new("aclrtParamHandle *")
        errors.check(lib.aclrtKernelArgsAppend(self.handle, data, len(data), out), "aclrtKernelArgsAppend")
        return self._appended(out[0], len(data), value, needed)

    def append_placeholder(self, nbytes: int) -> int:
        """Appends a placeholder with `nbytes` of data (aclrtKernelArgsAppendPlaceHolder) and gives its index."""
        if isinstance(nbytes, bool) or not isinstance(nbytes, (int, np.integer)) or nbytes < 1:
            raise ValueError(f"a placeholder has at least 1 byte of data, not {nbytes!r}")
        needed = self._needed("append_placeholder", 8, int(nbytes))
        out = ffi.new("aclrtParamHandle *")
        errors.check(lib.aclrtKernelArgsAppendPlaceHolder(self.handle, out), "aclrtKernelArgsAppendPlaceHolder")
        return self._appended(out[0], -int(nbytes), None, needed)

    def _appended(self, param: Any, size: int, value: Any, needed: int) -> int:
        self._used = needed
        self._params.append(param)
        self._sizes.append(size)
        self._values.append(value)
        uses_changed(self)
        return len(self._params) - 1

    def _needed(self, what: str, size: int, data: int) -> int:
        """The room that is taken with another argument of `size` bytes. Refuses one that does not fit here now."""
        self.handle  # noqa: B018
        self._check_wiped()
        if self._state != "open":
            done = "the placeholders' buffers were fetched" if self._state == "placing" else "finalize()"
            raise RuntimeError(f"{what}() after {done}: {_ORDER}"
                               + ("; later only update() changes an argument" if self._state == "final" else ""))
        index = len(self._sizes)
        if not size:
            raise ValueError("an argument has at least 1 byte")
        params = self.kernel.params
        if params is None and index >= _MAX_ARGUMENTS:
            raise ValueError(f"{what}() of argument {index + 1}: a kernel has at most {_MAX_ARGUMENTS}")
        if params is not None and index >= len(params):
            raise ValueError(f"{what}() of argument {index + 1}: {self.kernel.name} takes {len(params)}")
        if params is not None and params[index][1] != size:
            raise ValueError(f"argument {index} of {self.kernel.name} has {params[index][1]} bytes in C, not {size}")
        needed = self._used + -(-size // 8) * 8 + -(-data // 8) * 8
        if self._room and needed > self._room:
            raise ValueError(f"{what}() of argument {index}: the list has room for {self._room} bytes and would need "
                             f"{needed}; make it with ArgsHandle(kernel, nbytes={needed}) or more")
        return needed

    def placeholder_buffer(self, index: int) -> memoryview:
        """The data of placeholder `index`, to be written before `finalize` (aclrtKernelArgsGetPlaceHolderBuffer).

        ``buffer[:] = data`` copies bytes; ``numpy.frombuffer(buffer, dtype)`` is a writable view. The same buffer is
        given again. Fetching one ends the appending.
        """
        self._check_wiped()
        self._check_index(index)
        size = -self._sizes[index]
        if size <= 0:
            raise ValueError(f"argument {index} is no placeholder: only append_placeholder makes one")
        buffer: Optional[memoryview] = self._values[index]
        if buffer is None:
            if self._state == "final":
                raise RuntimeError(f"placeholder_buffer() after finalize(): {_ORDER}")
            out = ffi.new("void **")
            code = lib.aclrtKernelArgsGetPlaceHolderBuffer(self.handle, self._params[index], size, out)
            errors.check(code, "aclrtKernelArgsGetPlaceHolderBuffer")
            if self._memory is None:
                buffer = memoryview(ffi.buffer(ffi.cast("char *", out[0]), size)).cast("B")
            else:  # a view of our own memory, which it keeps alive
                start = int(ffi.cast("uintptr_t", out[0])) - self._base
                buffer = memoryview(ffi.buffer(self._memory[1])).cast("B")[start:start + size]
            buffer[:] = bytes(size)
            self._values[index] = buffer
            self._state = "placing"
        return buffer

    def update(self, index: int, value: Any) -> None:
        """Overwrites argument `index` with a value of the same size (aclrtKernelArgsParaUpdate); then `finalize` again.

        Launches that are already queued keep the value they were launched with.
        """
        data = value.tobytes() if isinstance(value, np.generic) else encode(value)
        try:
            wrong = self._sizes[index] != len(data) or index < 0
        except (IndexError, TypeError):
            wrong = True
        if wrong:
            self._explain_update(index, len(data))
        code = lib.aclrtKernelArgsParaUpdate(self.handle, self._params[index], data, len(data))
        if code:
            raise errors.error(code, "aclrtKernelArgsParaUpdate")
        self.launchable = None
        old = self._values[index]
        if old is not value:
            self._values[index] = value
            if not isinstance(value, np.generic):
                uses_changed(self)
            if old is not None and not isinstance(old, np.generic):
                keep_while_in_flight(self, old)

    def _explain_update(self, index: Any, size: int) -> None:
        self.handle  # noqa: B018
        self._check_wiped()
        self._check_index(index)
        if self._sizes[index] < 0:
            raise ValueError(f"argument {index} is a placeholder: write to placeholder_buffer({index}) instead")
        raise ValueError(f"argument {index} has {self._sizes[index]} bytes and cannot be updated with {size}")

    def finalize(self) -> None:
        """Seals the list for launches (aclrtKernelArgsFinalize); again after every `update`.

        Raises RuntimeError while arguments of the kernel, or the data of a placeholder, are missing.
        """
        if self._state != "final":
            self._check_complete()
        handle = self.handle
        code = lib.aclrtKernelArgsFinalize(handle)
        if code:
            self._again(code, "aclrtKernelArgsFinalize", handle)
        self._state = "final"
        self.launchable = handle

    def _check_complete(self) -> None:
        self.handle  # noqa: B018
        self._check_wiped()
        params = self.kernel.params
        if params is not None and len(self._sizes) < len(params):
            raise RuntimeError(f"finalize() after {len(self._sizes)} of the {len(params)} arguments of "
                               f"{self.kernel.name} ({_ORDER})")
        for index, size in enumerate(self._sizes):
            if size < 0 and self._values[index] is None:
                raise RuntimeError(f"finalize() before placeholder {index} was filled: write its data to "
                                   f"placeholder_buffer({index}) first ({_ORDER})")

    def __len__(self) -> int:
        """How many arguments were appended."""
        return len(self._params)

    def _check_index(self, index: Any) -> None:
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise TypeError(f"an argument's index is what append() gave, not {index!r}")
        if not 0 <= index < len(self._params):
            raise IndexError(f"there is no argument {index}: {len(self._params)} were appended")

    def _wipe(self) -> None:
        self._state, self.launchable, self._sizes = "wiped", None, []
        for value in self._values:
            if isinstance(value, memoryview):  # it shows what belongs to the next list now
                try:
                    value.release()
                except BufferError:  # a numpy array looks at it
                    pass

    def _check_wiped(self) -> None:
        if self._state == "wiped":
            raise RuntimeError("this list is gone: the runtime keeps one for each thread, and a later "
                               "ArgsHandle(memory='runtime') of the thread took it over; use memory='user' for several")

    def _uses(self) -> Iterable[Resource]:
        yield self.kernel
        yield from (v for v in self._values if isinstance(v, Resource))

    def _release(self) -> None:
        self.launchable = None
        self._memory, self._values = None, []

    def _describe(self) -> str:
        state = {"open": "open", "placing": "placeholders being filled", "final": "finalized",
                 "wiped": "wiped by a later one"}[self._state]
        if self._state == "final" and self.launchable is None:
            state = "updated, not finalized"
        return f"of {self.kernel.name}, {len(self._params)} arguments, {state}"

    def why_not_launchable(self) -> Exception:
        """Why `launchable` is None. Raises ClosedError where that is why."""
        self.handle  # noqa: B018
        self._check_wiped()
        return NotFinalizedError("launch() of arguments that were updated: call finalize() again first"
                                 if self._state == "final" else f"launch() before finalize(): {_ORDER}")


class NotFinalizedError(RuntimeError):
    """Arguments were launched before they were finalized, or after an update without finalizing them again."""
