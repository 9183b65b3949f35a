"""Calling a model with arrays of any batch: gears, splitting, padding, joining."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from .binding import Array, _checked_dtype, _checked_shape, raw_bytes
from .memory import memcpy
from .tensor import Tensor

if TYPE_CHECKING:
    from .model import Model

Shape = tuple[int, ...]


def run(model: Model, arrays: Sequence[Array], progress: bool) -> list[Array]:
    """Executes a model on arrays, in as many executions as it takes."""
    for info, array in zip(model.inputs, arrays):
        _checked_dtype(info, array.dtype)
        if array.ndim != len(info.shape):
            raise ValueError(f"{info.name} has shape {list(array.shape)}, the model takes {list(info.shape)}")
        if array.size == 0:
            raise ValueError(f"{info.name} has shape {list(array.shape)}: there is nothing in it to run the model on")
    if _fits(model, [a.shape for a in arrays]):
        return _once(model, arrays)
    batch = _batch(model, arrays)
    if batch is None:
        for info, array in zip(model.inputs, arrays):
            _checked_shape(info, array.shape)
        raise ValueError(f"the shapes {[list(a.shape) for a in arrays]} are no gear of the model; it has "
                         f"{model.desc.batches or model.desc.sizes or model.desc.dims}")
    total = arrays[0].shape[0]
    parts: list[list[Array]] = []
    steps = -(-total // batch)
    for step in range(steps):
        rows = [a[step * batch:(step + 1) * batch] for a in arrays]
        count = rows[0].shape[0]
        size = _gear_for(model, count, batch)
        parts.append([r[:count] for r in _once(model, [_padded(r, size) for r in rows], size)])
        if progress:
            _bar(step + 1, steps)
    return [np.concatenate(found) for found in zip(*parts)]


def _fits(model: Model, shapes: Sequence[Shape]) -> bool:
    """Whether one execution can take these shapes as they are."""
    desc = model.desc
    numbers = [n for shape in shapes for n in shape]
    pattern = [n for t in desc.inputs for n in t.shape]
    if any(p >= 0 and p != n for p, n in zip(pattern, numbers)):
        return False
    varying = [n for p, n in zip(pattern, numbers) if p < 0]
    if desc.batches:
        return len(set(varying)) == 1 and varying[0] in desc.batches
    if desc.sizes:
        return tuple(varying[:2]) in desc.sizes and all(
            tuple(varying[i:i + 2]) == tuple(varying[:2]) for i in range(0, len(varying), 2))
    if desc.dims:
        return tuple(numbers) in desc.dims
    for info, shape in zip(desc.inputs, shapes):
        try:
            _checked_shape(info, shape)
        except ValueError:
            return False
    return True


def _batch(model: Model, arrays: Sequence[Array]) -> Optional[int]:
    """The batch that the arrays can be split by; None where only that is not what differs."""
    desc = model.desc
    firsts = {t.shape[0] if t.shape else 0 for t in desc.inputs}
    totals = {a.shape[0] if a.ndim else 0 for a in arrays}
    if len(firsts) != 1 or len(totals) != 1:
        return None
    (first,) = firsts
    batch = max(desc.batches) if desc.batches else first
    ends = [t.shape[0] if t.shape else 0 for t in desc.outputs]
    if batch <= 0 or any(n not in (first, batch) for n in ends):
        return None
    rest = [(batch if desc.batches else t.shape[0], *a.shape[1:]) for t, a in zip(desc.inputs, arrays)]
    return batch if _fits(model, rest) else None


def _gear_for(model: Model, count: int, batch: int) -> int:
    """The smallest batch of the model that holds `count` rows."""
    return min((b for b in model.desc.batches if b >= count), default=batch)


def _padded(rows: Array, size: int) -> Array:
    """Rows up to a batch; the last one is repeated, which every model can compute."""
    missing = size - rows.shape[0]
    return rows if not missing else np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


def _once(model: Model, arrays: Sequence[Array], batch: Optional[int] = None) -> list[Array]:
    """One execution."""
    desc = model.desc
    shapes = tuple(a.shape for a in arrays)
    binding = model._call_binding(shapes if desc.dynamic else None, arrays)
    for i, array in enumerate(arrays):
        binding._inputs[i].array = array
    if desc.dynamic and binding.shapes != {t.name: s for t, s in zip(desc.inputs, shapes) if t.dynamic} \
            or desc.gear_index is not None:
        _choose(model, binding, shapes)
    outputs = []
    for i, (info, result) in enumerate(zip(model.outputs, model.execute(binding))):
        if isinstance(result, Tensor):  # allocated by the runtime
            with result:
                outputs.append(result.numpy())
            continue
        if info.dtype is None:
            raise TypeError(f"output {info.name} has aclDataType {info.acl_dtype}, which numpy lacks: bind it")
        array = np.empty(binding.output_shape(i), info.dtype)
        if array.nbytes:
            memcpy(raw_bytes(array), result, array.nbytes)
        outputs.append(array)
    for slot in binding._inputs:  # do not keep the caller's arrays
        slot.array = _NOTHING if slot.array is not None else None
    return outputs


_NOTHING = np.empty(0, np.uint8)


def _choose(model: Model, binding: Any, shapes: Sequence[Shape]) -> None:
    """Sets the gear or the shapes that the arrays ask for."""
    desc = model.desc
    varying = [n for t, shape in zip(desc.inputs, shapes) for p, n in zip(t.shape, shape) if p < 0]
    if desc.batches:
        binding.set_batch(varying[0])
    elif desc.sizes:
        binding.set_size(*varying[:2])
    else:
        binding.set_shapes({t.name: s for t, s in zip(desc.inputs, shapes)})


def _bar(done: int, total: int) -> None:
    width = 30 * done // total
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r[{'#' * width}{'.' * (30 - width)}] {done}/{total}{end}")
    sys.stderr.flush()
