"""What stands behind ``pyacl.ops``: operators as functions, and a cache of repeatable executors."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from typing import Any, Optional, Sequence

import numpy as np

from . import errors
from .arguments import Plan, bind, plan
from .arrays import BoolArray, FloatArray, IntArray
from .capi import ffi, lib
from .executor import Executor, context_for
from .scalar import Scalar, ScalarList
from .stream import Stream
from .tensor import Tensor, TensorList


class Operator:
    """An aclnn operator as a function: ``pyacl.ops.aclnnAdd(x, y, 1.0, out, stream=stream)``.

    Arguments go by position or by the prototype's names. The work is queued on `stream` (None: the context's default
    stream), and the call returns; results are there when the stream is synchronised.
    """

    def __init__(self, name: str) -> None:
        self._plan = plan(name)
        self.__name__ = self.__qualname__ = name
        self.__doc__ = _document(self._plan)
        self.__signature__ = _signature(self._plan)

    def __call__(self, /, *args: Any, stream: Optional[Stream] = None, **named: Any) -> None:
        cache = _cache
        if cache is None:
            Executor(self.__name__, *args, **named).launch(stream)
        else:
            cache.launch(self._plan, args, named, stream)

    def __repr__(self) -> str:
        return f"<operator {self._plan}>"


_TAKES = {
    "tensor": "a Tensor", "tensors": "a sequence of Tensors", "scalar": "a number or a Scalar",
    "scalars": "a sequence of numbers", "ints": "a sequence of ints", "floats": "a sequence of floats",
    "bools": "a sequence of bools", "text": "a str", "bool": "a bool", "integer": "an int", "number": "a float",
    "dtype": "a dtype", "": "a C value",
}


def _document(found: Plan) -> str:
    lines = [f"{found}", "", "Queues the operator on `stream`. Its arguments:", ""]
    for i, (name, kind) in enumerate(zip(found.names, found.kinds)):
        role = "" if kind not in ("tensor", "tensors") else \
            ", updated in place" if i in found.inputs and i in found.outputs else \
            ", written" if i in found.outputs else ""
        optional = "; may be None" if "ptional" in name else ""
        lines.append(f"    {name}: {_TAKES[kind]}{role}{optional}")
    first, second = f"{found.prototype.name}GetWorkspaceSize", found.prototype.name
    lines += ["", f"Stands on {first} and {second}.",
              "Raises TypeError or ValueError for an argument that does not fit the prototype, and AclError for what",
              "the operator refuses (161001, 161002, ...)."]
    return "\n".join(lines)


def _signature(found: Plan) -> inspect.Signature:
    kinds = inspect.Parameter
    parameters: list[inspect.Parameter] = []
    for name in found.names:
        # What follows an optional parameter can be left to its name only.
        default = None if "ptional" in name else kinds.empty
        if parameters and parameters[-1].default is None and default is kinds.empty:
            parameters = [p.replace(default=kinds.empty) for p in parameters]
        parameters.append(kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=default))
    parameters.append(kinds("stream", kinds.KEYWORD_ONLY, default=None, annotation="Optional[Stream]"))
    return inspect.Signature(parameters, return_annotation=None)


# ---- the cache

_cache: Optional[Cache] = None


class Cache:
    """Repeatable executors for calls that differ only in their tensors' addresses.

    The key holds all that shapes a plan: operator, context, thread, the determinism option, the thread's limits of
    cores, which tensors are the same memory, and of each argument whether it is None, shapes, strides, offsets, storage
    shapes, dtypes, formats, values. Operators that cannot be repeated (561000), memory that is not aligned to 32 bytes
    and C pointers make calls that are launched once each, as without a cache. When it is full, the executor that was
    not used for longest is closed.

    A context manager: leaving it turns the cache off. `hits`, `misses`, ``len()`` and `clear` are for the curious.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a cache of {size} executors: give 1 or more, or 0 to pyacl.ops.cache to turn it off")
        self.size = size
        self.hits = self.misses = 0
        self._executors: OrderedDict[Any, Executor] = OrderedDict()
        self._once: set[str] = set()
        self._lock = threading.RLock()

    def launch(self, found: Plan, args: Sequence[Any], named: dict[str, Any], stream: Optional[Stream]) -> None:
        """Launches an operator with an executor of the cache, or with a new one that then belongs to it."""
        name = found.prototype.name
        values = [_settled(v, kind) for v, kind in zip(bind(found, args, named), found.kinds)]
        key = None if name in self._once else _call_key(name, values)
        if key is None:
            Executor(name, *values).launch(stream)
            return
        with self._lock:
            executor = self._executors.get(key)
            if executor is not None and not executor.closed:
                self._executors.move_to_end(key)
                self.hits += 1
                executor.rebind(values)
            else:
                self.misses += 1
                try:
                    executor = Executor(name, *values, repeatable=True)
                except errors.AclError as refused:
                    if refused.code != lib.ACLNN_ERR_INNER or refused.function != "aclSetAclOpExecutorRepeatable":
                        raise
                    self._once.add(name)
                    Executor(name, *values).launch(stream)
                    return
                self._executors[key] = executor
                while len(self._executors) > self.size:
                    self._executors.popitem(last=False)[1].close()
            executor.launch(stream)

    def __len__(self) -> int:
        return len(self._executors)

    def clear(self) -> None:
        """Closes all executors, after the streams that they are queued on."""
        with self._lock:
            while self._executors:
                self._executors.popitem(last=False)[1].close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: Any) -> None:
        global _cache
        if _cache is self:
            _cache = None
        self.clear()


def cache(size: int = 256) -> Cache:
    """Keeps up to `size` repeatable executors behind ``pyacl.ops`` from now on; 0 turns that off.

    ``pyacl.ops.cache(64)``, or ``with pyacl.ops.cache(64):`` for a while. Off by default. A cached executor keeps the
    tensors of its last call.
    """
    global _cache
    old, _cache = _cache, Cache(size) if size else None
    if old is not None:
        old.clear()
    return _cache if _cache is not None else _Off(1)


class _Off(Cache):
    """What `cache` returns when it was turned off."""


def _options() -> tuple[int, ...]:
    """What phase one reads beside its arguments."""
    found = []
    if hasattr(lib, "aclrtGetSysParamOpt"):
        value = ffi.new("int64_t *")
        lib.aclrtGetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, value)
        found.append(int(value[0]))
    if hasattr(lib, "aclrtGetResInCurrentThread"):
        cores = ffi.new("uint32_t *")
        for kind in (lib.ACL_RT_DEV_RES_CUBE_CORE, lib.ACL_RT_DEV_RES_VECTOR_CORE):
            if lib.aclrtGetResInCurrentThread(kind, cores):
                errors.recent_text()  # hardware without such limits
            found.append(int(cores[0]))
    return tuple(found)


def _settled(value: Any, kind: str) -> Any:
    """Tensors of other libraries as Tensors, sequences as tuples: what a key and a refresh can be made of."""
    if kind == "tensor" and hasattr(value, "data_ptr"):
        return Tensor.from_data_ptr(value)
    if kind == "tensors" and hasattr(value, "__iter__") and not isinstance(value, (Tensor, TensorList)):
        return tuple(_settled(t, "tensor") for t in value)
    if kind in ("ints", "floats", "bools", "scalars") and hasattr(value, "__iter__") \
            and not isinstance(value, (str, bytes, IntArray, FloatArray, BoolArray, ScalarList)):
        return tuple(value)
    return value


class _Unknown(Exception):
    """A value of which nobody can say whether it is the same the next time."""


def _call_key(name: str, values: Sequence[Any]) -> Any:
    """The key of one call, or None where it cannot be repeated by refreshed addresses."""
    tensors = [t for v in values for t in (v if isinstance(v, (TensorList, tuple)) else (v,)) if isinstance(t, Tensor)]
    if any(t.buffer.address % 32 for t in tensors):
        return None
    same: dict[int, int] = {}
    try:
        return (name, int(ffi.cast("uintptr_t", context_for(values).handle)), threading.get_ident(), _options(),
                *(same.setdefault(t.address, i) for i, t in enumerate(tensors)), *(_key(v) for v in values))
    except _Unknown:
        return None


def _key(value: Any) -> Any:
    """Equal for values that make the same plan, different otherwise: 1, 1.0 and True differ, so do 0.0 and -0.0."""
    if isinstance(value, Tensor):
        return (value.shape, value.strides, value.offset, value.storage_shape, value.dtype.str, value.dtype.name,
                value.format)
    if isinstance(value, (TensorList, ScalarList, IntArray, FloatArray, BoolArray, tuple)):
        return (type(value).__name__, *(_key(v) for v in value))
    if isinstance(value, Scalar):
        return ("Scalar", value.dtype.name, np.asarray(value.value).tobytes())
    if isinstance(value, (np.generic, np.ndarray)) and not value.dtype.hasobject:  # float64 is a float for Python, too
        return (value.dtype.str, value.dtype.name, value.shape, value.tobytes())
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, complex):
        return ("complex", value.real.hex(), value.imag.hex())
    if value is None or isinstance(value, (int, str, bytes, type, np.dtype)):
        return (type(value), value)
    raise _Unknown
