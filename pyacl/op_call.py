"""What stands behind ``pyacl.ops``: operators as functions, and a cache of repeatable executors."""

from __future__ import annotations

import inspect
import threading
from typing import Any, Optional, Sequence

import numpy as np

from . import errors
from .arguments import Plan, bind, plan
from .arrays import BoolArray, FloatArray, IntArray
from .capi import ffi, lib
from .executor import Executor, context_for
from .resource import Resource
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
            cache.launch(self.__name__, self._plan, args, named, stream)

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

# These change the caller's aclTensors (see Tensor.refresh), and an executor of the cache has its own.
_CHANGING = ("aclnnMaskedSelect", "aclnnNonzero", "aclnnNonzeroV2", "aclnnTransMatmulWeight", "aclnnUnique",
             "aclnnUnique2", "aclnnUniqueConsecutive", "aclnnUniqueDim")

_cache: Optional[Cache] = None


class Cache:
    """Repeatable executors for calls that differ only in their tensors' addresses.

    The key holds all that shapes a plan: operator, context, thread, the determinism option, the thread's limits of
    cores, which tensors are the same memory, and of each argument whether it is None, shapes, strides, offsets, storage
    shapes, dtypes, formats, values. Operators that cannot be repeated (561000), memory that is not aligned to 32 bytes
    and C pointers make calls that are launched once each, as without a cache. When it is full, the executor that was
    not used for longest goes; what is queued, and graphs, keep theirs.

    A context manager: leaving it turns the cache off. `hits`, `misses`, ``len()`` and `clear` are for the curious.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a cache of {size} executors: give 1 or more, or 0 to pyacl.ops.cache to turn it off")
        self.size = size
        self.hits = self.misses = 0
        # In the order of their last use. One that is in use is not in here, so that nobody else can take it.
        self._executors: dict[Any, Executor] = {}
        self._once = {*_CHANGING}
        self._lock = threading.Lock()

    def launch(self, name: str, found: Plan, args: Sequence[Any], named: dict[str, Any],
               stream: Optional[Stream]) -> None:
        """Launches an operator with an executor of the cache, or with a new one that then belongs to it."""
        values = bind(found, args, named) if named or len(args) != len(found.names) else [*args]
        tensors: list[Tensor] = []
        try:
            key = None if name in self._once else _call_key(name, found, values, tensors)
        except _Unknown:
            key = None
        if key is None:
            Executor(name, *values).launch(stream)
            return
        with self._lock:
            executor = self._executors.pop(key, None)
            if executor is not None and executor.closed:
                executor = None
            if executor is None:
                self.misses += 1
            else:
                self.hits += 1
        if executor is None:
            try:
                executor = Executor._for_cache(found, values)
            except errors.AclError as refused:
                if refused.code != lib.ACLNN_ERR_INNER or refused.function != "aclSetAclOpExecutorRepeatable":
                    raise
                self._once.add(name)
                Executor(name, *values).launch(stream)
                return
        else:
            executor.rebind(tensors)
        executor.launch(stream)
        gone = []
        with self._lock:
            self._executors[key] = executor
            while len(self._executors) > self.size:
                gone.append(self._executors.pop(next(iter(self._executors))))

    def __len__(self) -> int:
        return len(self._executors)

    def clear(self) -> None:
        """Lets all executors go; those that are queued when they have run."""
        with self._lock:
            gone, self._executors = self._executors, {}
        gone.clear()

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


class _Surroundings:
    """What phase one reads beside its arguments, for one thread."""

    def __init__(self) -> None:
        memory = ffi.new("uint64_t[4]")
        self.bytes = ffi.buffer(memory)
        self.context = ffi.cast("aclrtContext *", memory)
        self.deterministic = ffi.cast("int64_t *", memory + 1) if hasattr(lib, "aclrtGetSysParamOpt") else None
        self.cores = []
        if hasattr(lib, "aclrtGetResInCurrentThread"):
            kinds = (lib.ACL_RT_DEV_RES_CUBE_CORE, lib.ACL_RT_DEV_RES_VECTOR_CORE)
            self.cores = [(kind, ffi.cast("uint32_t *", memory + i)) for i, kind in enumerate(kinds, 2)]

    def read(self) -> Optional[bytes]:
        """The context, the determinism option and the limits of cores, as they are now; None without a context."""
        if lib.aclrtGetCurrentContext(self.context):
            errors.recent_text()
            return None
        if self.deterministic is not None:
            lib.aclrtGetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, self.deterministic)
        for kind, limit in self.cores:
            if lib.aclrtGetResInCurrentThread(kind, limit):
                errors.recent_text()  # hardware without such limits
                limit[0] = 0
        found: bytes = self.bytes[:]
        return found


class _Thread(threading.local):
    surroundings: Optional[_Surroundings] = None


_thread = _Thread()


class _Unknown(Exception):
    """A value of which nobody can say whether it is the same the next time, or memory that no refresh takes."""


def _call_key(name: str, found: Plan, values: list[Any], tensors: list[Tensor]) -> Any:
    """The key of one call: equal for calls that make the same plan, different otherwise.

    Puts into `tensors` all tensors in order, those of lists one by one, and into `values` what can be looked at again:
    Tensors for those of other libraries, tuples for sequences. Raises `_Unknown` for a call that must not be repeated.
    """
    around = _thread.surroundings
    if around is None:
        around = _thread.surroundings = _Surroundings()
    here = around.read()
    if here is None:
        context_for(values)  # binds the thread, or raises
        here = around.read()
    # A flat list in which the beginning of each value says how to read on: a type, or the text of a tensor's layout.
    key: list[Any] = [name, around, here]
    for i, value in enumerate(values):
        kind = type(value)
        if kind is Tensor:
            key.append(value._layout or _layout(value))
            tensors.append(value)
        elif (kind is float and value and value == value) or kind is int or kind is bool:
            key += kind, value
        elif value is None:
            key.append(None)
        else:
            values[i] = value = _settled(value, found.kinds[i])
            _describe(value, key, tensors)
    addresses = [t._start for t in tensors]
    if len({*addresses}) != len(addresses):
        key.append(tuple(map(addresses.index, addresses)))
    return tuple(key)


def _layout(tensor: Tensor) -> str:
    found = tensor.layout()
    if not found:
        raise _Unknown
    return found


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


def _describe(value: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Appends one value to a key. 1, 1.0 and True differ, so do 0.0 and -0.0."""
    if isinstance(value, Resource) and value.closed:
        raise _Unknown
    if isinstance(value, Tensor):
        key.append(value._layout or _layout(value))
        tensors.append(value)
    elif isinstance(value, IntArray) or (isinstance(value, tuple) and {*map(type, value)} == {int}):
        key += type(value), int, tuple(value)
    elif isinstance(value, (TensorList, ScalarList, FloatArray, BoolArray, tuple)):
        key += type(value), len(value)
        for item in value:
            _describe(item, key, tensors)
    elif isinstance(value, Scalar):
        key += Scalar, value.dtype.name, np.asarray(value.value).tobytes()
    elif isinstance(value, (np.generic, np.ndarray)) and not value.dtype.hasobject:
        # Before float, which numpy's float64 is, too.
        key += type(value), value.dtype.str, value.dtype.name, value.shape, value.tobytes()
    elif isinstance(value, float):
        key += float, value.hex()
    elif isinstance(value, complex):
        key += complex, value.real.hex(), value.imag.hex()
    elif value is None:
        key.append(None)
    elif isinstance(value, (int, str, bytes, type, np.dtype)):
        key += type(value), value
    else:
        raise _Unknown
