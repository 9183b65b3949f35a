"""What an operator is compared with, and the inputs that are drawn for it.

An oracle is a function of the operator's inputs, in the order of the prototype: torch tensors (bool, integers,
float32, float64, complex; float16, bfloat16 and smaller types come as float32), lists of them, Python numbers for aclScalars, tuples,
str, torch dtypes, None. It returns a tensor, an array, or a tuple of them for several outputs.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import ml_dtypes
import numpy as np

from pyacl.emulator.ops.registry import Operator
from pyacl.emulator.ops.signature import Parameter, Signature, documented
from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32, FLOATS, HALF, INTEGERS, category, parse, promote

torch = importlib.import_module("torch")

TO_TORCH = {np.dtype(k): v for k, v in {
    np.float32: torch.float32, np.float16: torch.float16, np.float64: torch.float64, np.int8: torch.int8,
    np.uint8: torch.uint8, np.int16: torch.int16, np.int32: torch.int32, np.int64: torch.int64, np.bool_: torch.bool,
    np.complex64: torch.complex64, np.complex128: torch.complex128, ml_dtypes.bfloat16: torch.bfloat16,
}.items()}
FROM_TORCH = {v: k for k, v in TO_TORCH.items()}
COMMON = "f32 f32 f16 bf16 f64 s32 s64 s16 s8 u8 bool"


class Draw:
    """Random inputs for one operator, the same ones in every run."""

    def __init__(self, operator: Operator, seed: int) -> None:
        self.operator = operator
        self.signature: Signature = operator.signature
        self.name = operator.name
        self.seed = seed
        self.rng = np.random.default_rng([seed, *operator.name.encode()])

    @property
    def inplace(self) -> bool:
        return any(p.role == "io" for p in self.signature.parameters)

    def allowed(self, position: int) -> Any:
        """The types input `position` may have."""
        return self.operator.allowed(self.signature.inputs[position].name)

    def choice(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        """low <= n <= high"""
        return int(self.rng.integers(low, high + 1))

    def flag(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def dtype(self, names: str = COMMON, *positions: int) -> Any:
        """One of the types `names` that all inputs at `positions` (default the first) may have."""
        options = [DTYPES[n] for n in names.split()]
        for position in positions or (0,):
            allowed = self.allowed(position)
            if allowed:
                options = [d for d in options if d in allowed]
        assert options, f"{self.name}: none of {names} is allowed for inputs {positions or (0,)}"
        return self.choice(options)

    def shape(self, low: int = 0, high: int = 4, side: int = 5, empty: bool = False) -> tuple[int, ...]:
        """`low` to `high` dimensions of 1 to `side` (with `empty` perhaps one of 0)."""
        found = [self.integer(1, side) for _ in range(self.integer(low, high))]
        if empty and found and self.rng.random() < 0.1:
            found[self.integer(0, len(found) - 1)] = 0
        return tuple(found)

    def axis(self, ndim: int) -> int:
        """A dimension, from the front or from the back."""
        n = max(ndim, 1)
        return self.integer(-n, n - 1)

    def axes(self, ndim: int, low: int = 1) -> tuple[int, ...]:
        """Different dimensions, some of them counted from the back."""
        n = self.integer(min(low, ndim), ndim)
        found = self.rng.permutation(ndim)[:n]
        return tuple(int(a) - ndim * self.flag() for a in found)

    def array(self, shape: tuple[int, ...], dtype: Any, low: float = -4, high: float = 4, special: bool = False,
              distinct: bool = False) -> Any:
        """Uniform values of [low, high]; `special` mixes in NaN, infinities, zeros; `distinct` gives different ones."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64))
        if dtype == np.bool_:
            return np.asarray(self.rng.random(shape) < 0.5)
        if dtype in INTEGERS:
            bottom = max(int(np.ceil(low)), 0 if dtype.kind == "u" else int(np.ceil(low)))
            if distinct:
                return (self.rng.permutation(max(size, 1))[:size] + bottom).reshape(shape).astype(dtype)
            return np.asarray(self.rng.integers(bottom, max(int(high), bottom), shape, endpoint=True), dtype)
        values = self.rng.uniform(low, high, shape)
        if distinct:
            values = np.linspace(low, high, max(size, 1))[self.rng.permutation(max(size, 1))[:size]].reshape(shape)
        if dtype.kind == "c":
            return np.asarray(values + 1j * self.rng.uniform(low, high, shape), dtype)
        if special and size:
            flat = values.reshape(-1)
            for value in (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0):
                if self.rng.random() < 0.25:
                    flat[self.integer(0, size - 1)] = value
        return np.asarray(values).astype(dtype)

    def scalar(self, dtype: Any, low: float = -4, high: float = 4) -> Any:
        """A value for an aclScalar, exact in float16 and bfloat16; `dtype` may be one of our short names."""
        dtype = DTYPES.get(dtype) or np.dtype(dtype)
        if dtype in FLOATS or dtype.kind == "c":
            return np.asarray(np.round(self.rng.uniform(low, high) * 4) / 4).astype(dtype)[()]
        return self.array((), dtype, low, high)[()]


def elementwise(low: float = -4, high: float = 4, *, special: bool = True, names: str = COMMON,
                mixed: bool = True, scalar: str = "f32 s32 s64 bool f16 f64",
                **scalars: tuple[float, float]) -> Callable[[Draw], list[Any]]:
    """Draws tensors that broadcast (an in-place operator's first one has the full shape) and scalars of fitting types.

    `names` are the tensors' types, `scalar` the aclScalars'; `scalars` gives ranges for scalar and plain parameters by
    name.
    """
    def draw(d: Draw) -> list[Any]:
        inputs = d.signature.inputs
        tensors = [i for i, p in enumerate(inputs) if p.kind == "tensor"]
        shape = d.shape(empty=True)
        dtype = d.dtype(names, *tensors)
        values: list[Any] = []
        for i, p in enumerate(inputs):
            if p.kind == "tensor":
                own = dtype
                if mixed and i != tensors[0] and not d.inplace and d.rng.random() < 0.3:
                    own = d.dtype(names, i)
                    if promote(dtype, own) is None:
                        own = dtype
                values.append(d.array(_squeezed(d, shape) if i != tensors[0] or (not d.inplace and len(tensors) > 1)
                                      else shape, own, low, high, special))
            elif p.kind == "scalar":
                options = [t for t in scalar.split() if category(DTYPES[t]) <=
                           (category(dtype) if d.inplace or p.name != "other" else 2)]
                values.append(d.scalar(DTYPES[d.choice(options)], *scalars.get(p.name, (low, high))))
            elif p.name in scalars:
                bounds = scalars[p.name]
                values.append(d.integer(int(bounds[0]), int(bounds[1])) if isinstance(bounds[0], int)
                              else float(d.rng.uniform(*bounds)))
            else:
                raise AssertionError(f"{d.name}: no range for {p.name}; give elementwise({p.name}=(low, high))")
        return values

    return draw


def _squeezed(d: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    found = tuple(1 if d.rng.random() < 0.25 and n else n for n in shape)
    return found[d.integer(0, len(found)):] if d.rng.random() < 0.25 else found


@dataclass
class Oracle:
    """`call` is the reference, `draw` makes the inputs; tolerances are for float32, those of other types are scaled.

    `dense` keeps the tensors from being laid out at random. `exact` asks for equal values, `cases` is how many inputs
    are drawn. `room` gives, from the inputs, the shapes of the outputs' tensors where results may come out smaller.
    Where no reference can give the values (random numbers), `accept` asserts that the outputs, given the inputs, are
    right, and `call` says only their shapes and types.
    """

    call: Callable[..., Any]
    draw: Callable[[Draw], list[Any]] = field(default_factory=elementwise)
    rtol: float = 2e-5
    atol: float = 1e-6
    exact: bool = False
    dense: bool = False
    cases: int = 6
    room: Optional[Callable[..., list[tuple[int, ...]]]] = None
    accept: Optional[Callable[[list[Any], list[Any]], None]] = None


class Fractal:
    """A matrix that lies in device memory in the format NZ."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def stored(self) -> Any:
        return self.blocks

    @functools.cached_property
    def blocks(self) -> Any:
        """Blocks of 16 rows and 32 bytes, column of blocks by column of blocks, row by row."""
        *lead, rows, columns = self.shape
        width = 32 // self.dtype.itemsize
        blocks = np.zeros((*lead, -(-columns // width), -(-rows // 16), 16, width), self.dtype)
        for j in range(0, columns, width):
            for i in range(16):
                part = self.array[..., i::16, j:j + width]
                blocks[..., j // width, :part.shape[-2], i, :part.shape[-1]] = part
        return blocks


def resolve(path: str) -> Callable[..., Any]:
    """``"torch.nn.functional.silu"`` -> the function."""
    parts = path.split(".")
    found: Any = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 1):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:i + 1]))
        found = getattr(found, part)
    assert callable(found)
    return found  # type: ignore[no-any-return]


def to_torch(value: Any) -> Any:
    """An input as the oracle gets it."""
    if isinstance(value, Fractal):
        value = value.array
    if isinstance(value, np.generic):
        return value.item() if value.dtype not in HALF else float(value)
    if isinstance(value, np.ndarray):
        if value.dtype in HALF:
            return torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)).reshape(value.shape))
        if value.dtype not in TO_TORCH and value.dtype not in INTEGERS:  # float8 and what is smaller
            return torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)).reshape(value.shape))
        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, list):
        return [to_torch(v) for v in value]
    if isinstance(value, np.dtype):
        return TO_TORCH[value]
    return value


def told_type(operator: Any, inputs: list[Any]) -> Any:
    """The aclDataType that the page wants the output to have, None where there is no such parameter."""
    together = set(documented("one type").get(operator.name, "").replace(",", " ").split())
    return next((v for p, v in zip(operator.signature.inputs, inputs) if p.kind == "dtype" and p.name in together), None)


def half_of(values: list[Any]) -> Any:
    """The half-precision type of the first floating input, which is then the result's, unless others differ; else None.

    What is float32 beside it are scales and the like.
    """
    arrays = [a for v in values for a in (v if isinstance(v, list) else [v]) if isinstance(a, (np.ndarray, Fractal))]
    kinds = [a.dtype for a in arrays if a.dtype in FLOATS]
    return kinds[0] if kinds and kinds[0] in HALF and set(kinds) <= {kinds[0], F32} else None


def to_numpy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().resolve_conj().resolve_neg()
        return value.float().numpy().astype(ml_dtypes.bfloat16) if value.dtype == torch.bfloat16 else value.numpy()
    return np.asarray(value)


TOLERANCE = {F16: 1.5e-3, BF16: 1.2e-2}


def close(found: Any, expected: Any, oracle: Oracle) -> Any:
    """Which elements of a result are right; NaN equals NaN."""
    if found.dtype not in FLOATS and found.dtype.kind != "c":
        return np.asarray(found == expected)
    wide = np.complex128 if found.dtype.kind == "c" else np.float64
    found, expected, unit = found.astype(wide), expected.astype(wide), TOLERANCE.get(found.dtype, 0.0)
    if oracle.exact:
        return np.asarray((found == expected) | (np.isnan(found) & np.isnan(expected)))
    return np.isclose(found, expected, rtol=max(oracle.rtol, unit), atol=max(oracle.atol, unit * 0.05), equal_nan=True)


__all__ = ["Draw", "Fractal", "Oracle", "Parameter", "close", "elementwise", "half_of", "parse", "resolve", "to_numpy",
           "to_torch", "told_type", "torch"]
