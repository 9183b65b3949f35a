"""Kernels of a binary: what is known of them, and launching them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Optional, Sequence

import numpy as np

from . import errors
from .args_handle import ArgsHandle, encode
from .capi import ffi, lib
from .context import flight_on
from .launch_config import LaunchConfig
from .memory import DeviceBuffer
from .resource import Resource

if TYPE_CHECKING:
    from .binary import Binary
    from .stream import Stream

_NULL = ffi.NULL
_CORES = {0: "aicore", 1: "cube", 2: "vector", 3: "mix", 100: "aicpu"}
_POINTER, _PLACEHOLDER = "pointer", "placeholder"
_unknown: Any = object()


class Kernel(Resource):
    """A kernel of a `Binary`; made by `Binary.function`, and gone with the binary.

    A launch queues the kernel on a stream and returns. Arguments, buffers and the binary stay alive until the stream is
    synchronised. A fault in the kernel is raised by that synchronise, as `DeviceFaultError`.
    """

    __slots__ = ("name", "_types", "_params")

    _warns = False
    _has_children = True

    def __init__(self, handle: Any, name: str, binary: Binary) -> None:
        self.name = name
        self._types: Optional[tuple[Any, ...]] = None
        self._params: Any = _unknown
        self._own(handle, binary)

    @property
    def binary(self) -> Binary:
        """The binary it comes from."""
        self.handle  # noqa: B018
        parent: Any = self._parent
        return parent  # type: ignore[no-any-return]

    # Launching

    def launch(self, args: ArgsHandle, num_blocks: int, stream: Optional[Stream] = None,
               config: Optional[LaunchConfig] = None) -> None:
        """Queues `num_blocks` blocks with finalized arguments (aclrtLaunchKernelWithConfig).

        Raises RuntimeError when `args` are not finalized, or were updated since.
        """
        try:
            sealed = args.launchable
            if sealed is None:
                raise args.why_not_launchable()
            if args.kernel is not self and args.kernel.handle != self.handle:
                raise ValueError(f"these arguments are of {args.kernel!r}, not of {self!r}")
            attributes = _NULL if config is None else config.pointer
        except AttributeError:
            raise _wrong(args, config) from None
        flight = flight_on(stream, self)
        try:
            code = lib.aclrtLaunchKernelWithConfig(self.handle, num_blocks, flight.handle, attributes, sealed, _NULL)
        except (OverflowError, TypeError):
            raise _no_count(num_blocks) from None
        if code:
            self._again(code, "aclrtLaunchKernelWithConfig", self.handle, num_blocks, flight.handle, attributes, sealed,
                        _NULL)
        flight.held[args] = None

    def launch_device(self, block: Any, num_blocks: int, stream: Optional[Stream] = None,
                      config: Optional[LaunchConfig] = None, *, nbytes: Optional[int] = None,
                      uses: Iterable[Any] = ()) -> None:
        """Queues it with an argument block that lies in device memory (aclrtLaunchKernel, or V2 with a `config`).

        `block` is a DeviceBuffer or a Tensor; the whole block is the caller's to assemble, system slots included.
        `uses` is what the block's addresses point to, so that it stays alive.
        """
        if not isinstance(block, DeviceBuffer) and not isinstance(getattr(block, "buffer", None), DeviceBuffer):
            raise TypeError(f"the argument block is device memory, a DeviceBuffer or a Tensor, not {block!r}: "
                            "launch_host takes one in host memory")
        size = int(block.nbytes) if nbytes is None else int(nbytes)
        if not 0 < size <= block.nbytes:
            raise ValueError(f"an argument block of {size} bytes in {block.nbytes} bytes of memory")
        pointer = ffi.cast("void *", int.from_bytes(encode(block), "little"))
        attributes = _attributes(config)
        flight = flight_on(stream, self)
        if config is None:
            self._launch("aclrtLaunchKernel", num_blocks, pointer, size, flight.handle)
        else:
            self._launch("aclrtLaunchKernelV2", num_blocks, pointer, size, attributes, flight.handle)
        for obj in (self, block, *uses):
            flight.hold(obj)

    def launch_host(self, block: Any, num_blocks: int, stream: Optional[Stream] = None,
                    config: Optional[LaunchConfig] = None, *, placeholders: Sequence[tuple[int, int]] = (),
                    uses: Iterable[Any] = ()) -> None:
        """Queues it with an argument block in host memory, which is copied (aclrtLaunchKernelWithHostArgs).

        `block` is anything bytes-like; the whole block is the caller's to assemble, system slots included.
        `placeholders` are pairs (offset of an 8-byte slot, offset of the data in the block that the slot shall point
        to). `uses` is what the block's addresses point to, so that it stays alive.
        """
        if isinstance(block, Resource):
            raise TypeError(f"the argument block is host memory, not {block!r}: launch_device takes one on the device")
        data = bytes(memoryview(block))
        if not data:
            raise ValueError("the argument block is empty")
        memory = ffi.new("uint64_t[]", -(-len(data) // 8))
        ffi.memmove(memory, data, len(data))
        pairs = [(int(slot), int(offset)) for slot, offset in placeholders]
        for slot, offset in pairs:
            if not (0 <= slot <= len(data) - 8 and 0 <= offset < len(data)):
                raise ValueError(f"placeholder ({slot}, {offset}) lies outside a block of {len(data)} bytes")
        array = ffi.new("aclrtPlaceHolderInfo[]", pairs) if pairs else _NULL
        attributes = _attributes(config)
        flight = flight_on(stream, self)
        self._launch("aclrtLaunchKernelWithHostArgs", num_blocks, flight.handle, attributes, memory, len(data), array,
                     len(pairs))
        for obj in (self, memory, *uses):
            flight.hold(obj)

    def _launch(self, function: str, num_blocks: int, *args: Any) -> None:
        try:
            self._call(function, self.handle, num_blocks, *args)
        except (OverflowError, TypeError):
            raise _no_count(num_blocks) from None

    def _call(self, function: str, *args: Any) -> None:
        code = getattr(lib, function)(*args)
        if code:
            self._again(code, function, *args)

    # One call

    def signature(self, *types: Any) -> Kernel:
        """Declares the argument types for `launch_args`, and gives the kernel back.

        Each is ``"pointer"`` (or the class Tensor or DeviceBuffer), ``"placeholder"``, or a numpy dtype for a scalar.
        They are checked here, once, against what the binary says of its parameters, where it does.
        """
        parsed = tuple(_type(t) for t in types)
        if len(parsed) > 128:
            raise ValueError(f"{len(parsed)} arguments: a kernel has at most 128")
        params = self.params
        if params is not None:
            if len(parsed) != len(params):
                raise ValueError(f"{self.name} takes {len(params)} arguments, not {len(parsed)}")
            for i, (declared, (_, size)) in enumerate(zip(parsed, params)):
                own = declared.itemsize if isinstance(declared, np.dtype) else 8
                if own != size:
                    raise ValueError(f"argument {i} of {self.name} has {size} bytes, but {declared} has {own}")
        self._types = parsed
        return self

    def launch_args(self, stream: Optional[Stream], num_blocks: int, *values: Any, placeholder: Any = None,
                    config: Optional[LaunchConfig] = None) -> None:
        """Builds the arguments and launches, in one call.

        `placeholder` is the data of the placeholder, or a list with that of several. With a `signature` each takes its
        place in it, and plain numbers become scalars of the declared types; without one placeholders come last.
        """
        blobs = _blobs(placeholder)
        order = self._arrange(values, len(blobs))
        data = iter(blobs)
        plan = [next(data) if item is _PLACEHOLDER else encode(item) for item in order]
        room = sum(-(-len(p) // 8) * 8 + 8 for p in plan) or 8
        args = ArgsHandle(self, nbytes=room)
        places = []
        for item, part in zip(order, plan):
            if item is _PLACEHOLDER:
                places.append((args.append_placeholder(len(part)), part))
            else:
                args.append(item)
        for index, part in places:
            args.placeholder_buffer(index)[:] = part
        args.finalize()
        self.launch(args, num_blocks, stream, config)

    def _arrange(self, values: tuple[Any, ...], placeholders: int) -> list[Any]:
        """The values in the signature's order, with `_PLACEHOLDER` where one goes."""
        if self._types is None:
            return [*values, *([_PLACEHOLDER] * placeholders)]
        wanted = sum(t is _PLACEHOLDER for t in self._types)
        if wanted != placeholders or len(self._types) - wanted != len(values):
            raise TypeError(f"{self.name} takes {len(self._types) - wanted} arguments and {wanted} placeholders, not "
                            f"{len(values)} and {placeholders}")
        given = iter(values)
        return [t if t is _PLACEHOLDER else _convert(next(given), t, i) for i, t in enumerate(self._types)]

    # What is known of it

    @property
    def params(self) -> Optional[tuple[tuple[int, int], ...]]:
        """Offset and size in bytes of each parameter (aclrtFunctionGetParamInfo); None where the binary lacks that."""
        if self._params is _unknown:
            self._params = self._read_params()
        found: Optional[tuple[tuple[int, int], ...]] = self._params
        return found

    def _read_params(self) -> Optional[tuple[tuple[int, int], ...]]:
        count, offset, size = ffi.new("size_t *"), ffi.new("size_t *"), ffi.new("size_t *")
        try:
            code = lib.aclrtFunctionGetParamCount(self.handle, count)
        except errors.MissingSymbolError:  # older releases
            return None
        if code:  # no information, or no call for it on this product
            errors.recent_text()
            return None
        found = []
        for i in range(count[0]):
            errors.check(lib.aclrtFunctionGetParamInfo(self.handle, i, offset, size), "aclrtFunctionGetParamInfo")
            found.append((int(offset[0]), int(size[0])))
        return tuple(found)

    def _attribute(self, attribute: int) -> int:
        out = ffi.new("int64_t *")
        self._call("aclrtGetFunctionAttribute", self.handle, attribute, out)
        return int(out[0])

    @property
    def core_type(self) -> str:
        """"aicore", "cube", "vector", "mix" or "aicpu"."""
        number = self._attribute(lib.ACL_FUNC_ATTR_KERNEL_TYPE)
        return _CORES.get(number, str(number))

    @property
    def ratio(self) -> tuple[int, int]:
        """Cube cores to vector cores of each block, of a mix kernel."""
        packed = self._attribute(lib.ACL_FUNC_ATTR_KERNEL_RATIO)
        return packed >> 16 & 0xFFFF, packed & 0xFFFF

    @property
    def sched_mode(self) -> int:
        """0: a block starts when any core is free; 1: when all are."""
        return self._attribute(lib.ACL_FUNC_ATTR_KERNEL_SCHED_MODE)

    @property
    def address(self) -> tuple[int, int]:
        """Where its code lies on this thread's device, for the cube core and for the vector core; 0 for none."""
        out = ffi.new("void *[2]")
        self._call("aclrtGetFunctionAddr", self.handle, out, out + 1)
        return int(ffi.cast("uintptr_t", out[0])), int(ffi.cast("uintptr_t", out[1]))

    @property
    def size(self) -> tuple[int, int]:
        """Bytes of its code for the cube core and for the vector core."""
        out = ffi.new("size_t[2]")
        self._call("aclrtGetFunctionSize", self.handle, out, out + 1)
        return int(out[0]), int(out[1])

    def _describe(self) -> str:
        return self.name


def _attributes(config: Any) -> Any:
    if config is None:
        return _NULL
    if not isinstance(config, LaunchConfig):
        raise _no_config(config)
    return config.pointer


def _no_config(config: Any) -> Exception:
    return TypeError(f"config is a pyacl.LaunchConfig, not {config!r}")


def _no_count(num_blocks: Any) -> Exception:
    kind = ValueError if isinstance(num_blocks, (int, np.integer)) else TypeError
    return kind(f"num_blocks is {num_blocks!r}: give how many blocks to run, 1 or more")


def _wrong(args: Any, config: Any) -> Exception:
    """Which argument of a launch is of another class than it must be."""
    if isinstance(args, ArgsHandle):
        return _no_config(config)
    return TypeError(f"launch() takes an ArgsHandle, not {args!r}: launch_args() builds one from values, launch_host() "
                     "and launch_device() take a raw argument block")


def _type(declared: Any) -> Any:
    if isinstance(declared, str) and declared in (_POINTER, _PLACEHOLDER):
        return _POINTER if declared == _POINTER else _PLACEHOLDER
    if isinstance(declared, type) and (issubclass(declared, DeviceBuffer) or declared.__name__ == "Tensor"):
        return _POINTER
    try:
        if declared is not None:  # which numpy takes for float64
            return np.dtype(declared)
    except TypeError:
        pass
    raise TypeError(f"{declared!r} is no argument type: give 'pointer', 'placeholder' or a numpy dtype")


def _convert(value: Any, declared: Any, index: int) -> Any:
    if declared is _POINTER:
        if value is not None and len(encode(value)) != 8 or isinstance(value, (np.generic, bytes)):
            raise TypeError(f"argument {index} is a pointer: give a Tensor, a DeviceBuffer or None, not {value!r}")
        return value
    if isinstance(value, np.generic):
        if value.dtype != declared:
            raise TypeError(f"argument {index} is {declared}, not {value.dtype}")
        return value
    if isinstance(value, (bool, int, float)):
        if isinstance(value, float) and declared.kind in "iub":
            raise TypeError(f"argument {index} is {declared}, not {value!r}: round it first")
        if not _fits(value, declared):
            raise OverflowError(f"{value} does not fit argument {index}, which is {declared}")
        return np.array(value).astype(declared)[()]
    data = encode(value)
    if len(data) != declared.itemsize:
        raise TypeError(f"argument {index} is {declared} of {declared.itemsize} bytes, not {len(data)} bytes")
    return data


def _fits(value: Any, declared: np.dtype[Any]) -> bool:
    if declared.kind in "iu":
        return bool(np.iinfo(declared).min <= value <= np.iinfo(declared).max)
    if declared.kind == "b":
        return value in (0, 1)
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.array(value).astype(declared)) or not np.isfinite(value))


def _blobs(placeholder: Any) -> list[bytes]:
    if placeholder is None:
        return []
    if isinstance(placeholder, (list, tuple)):
        return [b for p in placeholder for b in _blobs(p)]
    array = isinstance(placeholder, (np.ndarray, np.generic))
    try:
        data: bytes = placeholder.tobytes() if array else bytes(memoryview(placeholder))
    except TypeError:
        raise TypeError(f"a placeholder's data is bytes or a numpy array, not {placeholder!r}") from None
    if not data:
        raise ValueError("a placeholder's data is empty")
    return [data]
