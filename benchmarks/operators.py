"""``python -m benchmarks operators``: the emulator's operators against numpy's and PyTorch's on the CPU, by family.

All three get the same arrays and the same number of threads, take turns, and count with their fastest call: one
thread's own time, or that of the clock for several. Without PyTorch that column stays empty.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SECONDS = 0.08  # for each way of each row, at least three calls


@dataclass
class Case:
    """One row. `inputs` are numpy arrays, lists of them and plain values, in the order of the operator's prototype;
    `outputs` are empty arrays; `tail` is what stands behind them.

    `numpy` and `torch` get the arrays (or tensors) among the inputs alone.
    """

    family: str
    label: str
    operator: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    numpy: Optional[Callable[..., Any]] = None
    torch: Optional[Callable[..., Any]] = None
    tail: Sequence[Any] = ()
    inplace: bool = False


def cases() -> Iterator[Case]:
    """Every row of the table."""
    import ml_dtypes
    import numpy as np

    torch = pytorch() or Nothing()
    F = torch.nn.functional if pytorch() else torch

    rng = np.random.default_rng(0)
    f32, f16, bf16 = np.float32, np.float16, ml_dtypes.bfloat16
    types = (("f32", f32), ("f16", f16), ("bf16", bf16))
    n = 1 << 20

    def draw(*shape: int, dtype: Any = f32) -> Any:
        return rng.standard_normal(shape, f32).astype(dtype)

    def integers(high: int, *shape: int) -> Any:
        return rng.integers(0, high, shape)

    def softmax(x: Any) -> Any:
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def normed(x: Any, *_: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    def rms(x: Any, *_: Any) -> Any:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)

    for label, t in types:
        x, y = draw(n, dtype=t), draw(n, dtype=t)
        positive = np.abs(x) + t(1)
        out, flags = np.empty(n, t), np.empty(n, bool)
        for name, function, other in (
                ("Abs", np.abs, torch.abs), ("Neg", np.negative, torch.neg), ("Exp", np.exp, torch.exp),
                ("Tanh", np.tanh, torch.tanh), ("Sin", np.sin, torch.sin)):
            yield Case("unary", f"{name} {label}", f"aclnn{name}", (x,), (out,), function, other)
        yield Case("unary", f"Log {label}", "aclnnLog", (positive,), (out,), np.log, torch.log)
        yield Case("unary", f"Sqrt {label}", "aclnnSqrt", (positive,), (out,), np.sqrt, torch.sqrt)
        if t != bf16:
            yield Case("activations", f"Erf {label}", "aclnnErf", (x,), (out,), None, torch.erf)
        for name, other in (("Sigmoid", torch.sigmoid), ("Relu", torch.relu), ("Silu", F.silu),
                            ("Gelu", lambda a: F.gelu(a, approximate="tanh"))):
            yield Case("activations", f"{name} {label}", f"aclnn{name}", (x,), (out,), None, other)
        yield Case("activations", f"GeluV2, exact {label}", "aclnnGeluV2", (x, 0), (out,), None, F.gelu)
        one = np.float32(1)
        yield Case("binary", f"Add {label}", "aclnnAdd", (x, y, one), (out,), np.add, torch.add)
        yield Case("binary", f"Mul {label}", "aclnnMul", (x, y), (out,), np.multiply, torch.mul)
        yield Case("binary", f"Div {label}", "aclnnDiv", (x, positive), (out,), np.divide, torch.div)
        yield Case("binary", f"Maximum {label}", "aclnnMaximum", (x, y), (out,), np.maximum, torch.maximum)
        yield Case("binary", f"PowTensorScalar {label}", "aclnnPowTensorScalar", (positive, f32(1.5)), (out,),
                   lambda a, t=t: np.power(a, t(1.5)), lambda a: torch.pow(a, 1.5))
        yield Case("comparison", f"LtTensor {label}", "aclnnLtTensor", (x, y), (flags,), np.less, torch.lt)
        yield Case("comparison", f"EqScalar {label}", "aclnnEqScalar", (x, f32(1)), (flags,),
                   lambda a: a == a.dtype.type(1), lambda a: a == 1)
        wide, code = x.reshape(1024, 1024), np.dtype(t)
        rows = np.empty(1024, t)
        yield Case("reductions", f"ReduceSum rows {label}", "aclnnReduceSum", (wide, (1,), False, code), (rows,),
                   lambda a: a.sum(1), lambda a: a.sum(1))
        yield Case("reductions", f"ReduceSum columns {label}", "aclnnReduceSum", (wide, (0,), False, code), (rows,),
                   lambda a: a.sum(0), lambda a: a.sum(0))
        yield Case("reductions", f"Mean {label}", "aclnnMean", (wide, (1,), False, code), (rows,),
                   lambda a: a.mean(1), lambda a: a.mean(1))
        yield Case("reductions", f"Amax {label}", "aclnnAmax", (wide, (1,), False), (rows,),
                   lambda a: a.max(1), lambda a: a.amax(1))
        yield Case("reductions", f"ArgMax {label}", "aclnnArgMax", (wide, 1, False), (np.empty(1024, np.int64),),
                   lambda a: a.argmax(1), lambda a: a.argmax(1))
        yield Case("reductions", f"Var {label}", "aclnnVar", (wide, (1,), True, False), (rows,),
                   lambda a: a.var(1), lambda a: a.var(1))
        yield Case("cumulative", f"Cumsum {label}", "aclnnCumsum", (wide, 1, code), (np.empty_like(wide),),
                   lambda a: a.cumsum(1), lambda a: a.cumsum(1))
        yield Case("softmax", f"Softmax {label}", "aclnnSoftmax", (wide, 1), (np.empty_like(wide),),
                   softmax, lambda a: torch.softmax(a, 1))
        yield Case("softmax", f"LogSoftmax {label}", "aclnnLogSoftmax", (wide, 1), (np.empty_like(wide),),
                   None, lambda a: torch.log_softmax(a, 1))
        gamma, beta = draw(1024, dtype=t), draw(1024, dtype=t)
        yield Case("norms", f"RmsNorm {label}", "aclnnRmsNorm", (wide, gamma, 1e-6),
                   (np.empty_like(wide), np.empty((1024, 1), f32)), rms,
                   lambda a, g: F.rms_norm(a, (1024,), g, 1e-6))
        yield Case("norms", f"LayerNorm {label}", "aclnnLayerNorm", (wide, (1024,), gamma, beta, 1e-5),
                   (np.empty_like(wide), np.empty((1024, 1), t), np.empty((1024, 1), t)), normed,
                   lambda a, g, b: F.layer_norm(a, (1024,), g, b))
        for size in (64, 256, 512):
            a, b = draw(size, size, dtype=t), draw(size, size, dtype=t)
            yield Case("matmul", f"Matmul {size} {label}", "aclnnMatmul", (a, b), (np.empty_like(a),),
                       np.matmul if t == f32 else None, torch.matmul, (0,))
        a, b = draw(16, 128, 128, dtype=t), draw(16, 128, 128, dtype=t)
        yield Case("matmul", f"BatchMatMul 16 x 128 {label}", "aclnnBatchMatMul", (a, b), (np.empty_like(a),),
                   np.matmul if t == f32 else None, torch.bmm, (0,))
        q, k, v = (draw(1, 8, 512, 64, dtype=t) for _ in range(3))
        yield Case("attention", f"FlashAttentionScore 8 x 512 x 64 {label}", "aclnnFlashAttentionScore",
                   (q, k, v, None, None, None, None, None, 0.125, 1.0, 65536, 65536, 8, "BNSD", 0, 0),
                   (np.empty((1, 8, 512, 8), f32), np.empty((1, 8, 512, 8), f32), None, np.empty_like(q)),
                   None, lambda q, k, v: F.scaled_dot_product_attention(q, k, v))
        image, kernel = draw(4, 16, 56, 56, dtype=t), draw(32, 16, 3, 3, dtype=t)
        yield Case("convolution", f"Convolution 3 x 3 {label}", "aclnnConvolution",
                   (image, kernel, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1),
                   (np.empty((4, 32, 56, 56), t),), None, lambda x, w: F.conv2d(x, w, padding=1), (0,))

    x, wide = draw(n), draw(1024, 1024)
    same = np.empty_like(wide)
    places = np.empty((1024, 1024), np.int64)
    yield Case("sort", "Sort rows", "aclnnSort", (wide, True, 1, False), (same, places),
               lambda a: np.argsort(a, 1, kind="stable"), lambda a: torch.sort(a, dim=1, stable=True))
    yield Case("sort", "Topk 10 of rows", "aclnnTopk", (wide, 10, 1, True, True),
               (np.empty((1024, 10), f32), np.empty((1024, 10), np.int64)), lambda a: np.argpartition(a, 1014, 1),
               lambda a: torch.topk(a, 10, 1))
    table, words = draw(10000, 128), integers(10000, 8192)
    yield Case("indexing", "Embedding", "aclnnEmbedding", (table, words), (np.empty((8192, 128), f32),),
               lambda w, i: w[i], lambda w, i: F.embedding(i, w))
    rows = draw(8192, 128)
    yield Case("indexing", "EmbeddingDenseBackward", "aclnnEmbeddingDenseBackward",
               (rows, words, 10000, (1 << 64) - 1, False), (np.empty((10000, 128), f32),), None,
               lambda g, i: torch.ops.aten.embedding_dense_backward(g, i, 10000, -1, False))
    yield Case("indexing", "IndexSelect", "aclnnIndexSelect", (table, 0, words), (np.empty((8192, 128), f32),),
               lambda w, i: w.take(i, 0), lambda w, i: torch.index_select(w, 0, i))
    index = integers(1024, 1024, 1024)
    yield Case("indexing", "Gather rows", "aclnnGather", (wide, 1, index), (same,),
               lambda a, i: np.take_along_axis(a, i, 1), lambda a, i: torch.gather(a, 1, i))
    yield Case("indexing", "Gather columns", "aclnnGather", (wide, 0, index), (same,),
               lambda a, i: np.take_along_axis(a, i, 0), lambda a, i: torch.gather(a, 0, i))
    yield Case("indexing", "Scatter", "aclnnScatter", (wide, 1, index, wide.copy(), 0), (same,), None,
               lambda a, i, s: torch.scatter(a, 1, i, s))
    yield Case("indexing", "ScatterAdd", "aclnnScatterAdd", (wide, 1, index, wide.copy()), (same,), None,
               lambda a, i, s: torch.scatter_add(a, 1, i, s))
    yield Case("indexing", "IndexAdd", "aclnnIndexAdd", (table, 0, words, rows, f32(1)), (np.empty_like(table),),
               None, lambda a, i, s: torch.index_add(a, 0, i, s))
    yield Case("indexing", "IndexPutImpl, accumulating", "aclnnIndexPutImpl", (table, [words], rows, True, False), (),
               None, lambda a, i, s: a.index_put_(tuple(i), s, accumulate=True), inplace=True)
    yield Case("indexing", "MaskedFill", "aclnnInplaceMaskedFillScalar", (wide.copy(), wide > 0, f32(1)), (),
               lambda a, m: np.putmask(a, m, 1), lambda a, m: a.masked_fill_(m, 1.0), inplace=True)
    yield Case("indexing", "SWhere", "aclnnSWhere", (wide > 0, wide, wide.copy()), (same,), np.where, torch.where)
    yield Case("indexing", "Histc", "aclnnHistc", (x, 100, f32(-3), f32(3)), (np.empty(100, f32),),
               lambda a: np.histogram(a, 100, (-3, 3)), lambda a: torch.histc(a, 100, -3, 3))
    yield Case("indexing", "Bincount", "aclnnBincount", (integers(1000, n), None, 1000), (np.empty(1000, np.int64),),
               np.bincount, torch.bincount)
    parts = [draw(1024, 256) for _ in range(4)]
    yield Case("movement", "Cat", "aclnnCat", (parts, 1), (same,), lambda p: np.concatenate(p, 1),
               lambda p: torch.cat(p, 1))
    cube = draw(64, 128, 128)
    yield Case("movement", "Permute", "aclnnPermute", (cube, (2, 0, 1)), (np.empty((128, 64, 128), f32),),
               lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)), lambda a: a.permute(2, 0, 1).contiguous())
    yield Case("movement", "Repeat", "aclnnRepeat", (parts[0], (1, 4)), (same,), lambda a: np.tile(a, (1, 4)),
               lambda a: a.repeat(1, 4))
    yield Case("movement", "Flip", "aclnnFlip", (wide, (1,)), (same,), lambda a: np.flip(a, 1).copy(),
               lambda a: torch.flip(a, (1,)))
    yield Case("movement", "Cast to f16", "aclnnCast", (x, np.dtype(f16)), (np.empty(n, f16),),
               lambda a: a.astype(f16), lambda a: a.half())
    yield Case("movement", "Cast to bf16", "aclnnCast", (x, np.dtype(bf16)), (np.empty(n, bf16),),
               lambda a: a.astype(bf16), lambda a: a.bfloat16())
    yield Case("movement", "Cast to s32", "aclnnCast", (x, np.dtype(np.int32)), (np.empty(n, np.int32),),
               lambda a: a.astype(np.int32), lambda a: a.int())
    many = [draw(256, 128) for _ in range(32)]
    empty = [np.empty((256, 128), f32) for _ in range(32)]
    yield Case("foreach", "ForeachSqrt, 32 tensors", "aclnnForeachSqrt", ([np.abs(m) for m in many],), (empty,),
               lambda p: [np.sqrt(m) for m in p], torch._foreach_sqrt)
    yield Case("foreach", "ForeachMulList, 32 tensors", "aclnnForeachMulList", (many, many), (empty,),
               lambda p, q: [a * b for a, b in zip(p, q)], torch._foreach_mul)
    half = draw(2048, 1024)
    yield Case("gated", "SwiGlu", "aclnnSwiGlu", (half, -1), (np.empty((2048, 512), f32),), None,
               lambda a: F.silu(a[:, :512]) * a[:, 512:])
    yield Case("random", "InplaceNormal", "aclnnInplaceNormal", (np.empty(n, f32), 0.0, 1.0, 1, 0), (),
               lambda a: rng.standard_normal(n, f32, out=a), lambda a: a.normal_(), inplace=True)
    yield Case("random", "InplaceUniform", "aclnnInplaceUniform", (np.empty(n, f32), 0.0, 1.0, 1, 0), (),
               lambda a: rng.random(n, f32, out=a), lambda a: a.uniform_(), inplace=True)
    yield Case("random", "DropoutGenMask", "aclnnDropoutGenMask", ((n,), 0.5, 1, 0), (np.empty(n // 8, np.uint8),),
               None, None)
    weights = np.abs(draw(64, 4096))
    yield Case("random", "Multinomial", "aclnnMultinomial", (weights, 16, False, 1, 0),
               (np.empty((64, 16), np.int64),), None, lambda w: torch.multinomial(w, 16))
    yield Case("random", "ApplyTopKTopP", "aclnnApplyTopKTopP",
               (draw(16, 32000), np.full(16, 0.9, f32), np.full(16, 50, np.int32)), (np.empty((16, 32000), f32),),
               None, lambda x, p, k: torch.sort(x, -1)[0].softmax(-1).cumsum(-1))
    a8, b8 = (rng.integers(-128, 128, (512, 512)).astype(np.int8) for _ in range(2))
    yield Case("quantised", "DynamicQuant f16", "aclnnDynamicQuant", (wide.astype(f16), None),
               (np.empty((1024, 1024), np.int8), np.empty(1024, f32)), None,
               lambda a: torch.round(a / (a.abs().amax(1, True) / 127)).char())
    yield Case("quantised", "QuantMatmulV4 512", "aclnnQuantMatmulV4",
               (a8, b8, np.ones(512, f32), None, None, None, False, False), (np.empty((512, 512), bf16),), None,
               lambda a, b, s: torch._int_mm(a, b) * s)
    experts = np.stack([rng.permutation(64)[:8] for _ in range(4096)]).astype(np.int32)
    yield Case("MoE", "MoeGatingTopKSoftmax", "aclnnMoeGatingTopKSoftmax", (draw(4096, 64), None, 8),
               (np.empty((4096, 8), f32), np.empty((4096, 8), np.int32), np.empty((4096, 8), np.int32)), None,
               lambda x: torch.topk(torch.softmax(x, -1), 8))
    yield Case("MoE", "MoeInitRoutingV2", "aclnnMoeInitRoutingV2",
               (draw(4096, 64), experts, 0, 0, 64, 0, 2, False),
               (np.empty((32768, 64), f32), np.empty(32768, np.int32), np.empty(64, np.int32), None), None,
               lambda x, e: x[torch.sort(e.flatten(), dim=0, stable=True)[1] // 8])


class Nothing:
    """Stands for PyTorch where it is not installed."""

    def __getattr__(self, name: str) -> Any:
        return None


def pytorch() -> Any:
    """The module, or None."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def measure(pattern: str = "*", threads: int = 1) -> list[dict[str, Any]]:
    """Microseconds of the fastest call, row by row: of one thread its own, so what else runs counts little."""
    import numpy as np

    import pyacl

    torch = pytorch()

    def tensor(value: Any) -> Any:
        if isinstance(value, list):
            return [tensor(v) for v in value]
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.name == "bfloat16":
            return torch.from_numpy(value.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(value.copy())

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(v) for v in value]
        return pyacl.Tensor.from_numpy(value, format={4: "NCHW"}.get(value.ndim, "ND")) \
            if isinstance(value, np.ndarray) else value

    found = []
    with pyacl.Device(0), pyacl.Stream() as stream:
        for case in cases():
            if not fnmatch.fnmatch(f"{case.family} {case.label}".lower(), f"*{pattern.lower()}*"):
                continue
            ways: dict[str, Callable[[], Any]] = {}
            arguments = [placed(v) for v in (*case.inputs, *case.outputs, *case.tail)]
            executor = pyacl.Executor(case.operator, *arguments, repeatable=True)

            def emulated(executor: Any = executor) -> None:
                executor.launch(stream)
                stream.synchronize()

            ways["emulator"] = emulated
            arrays = [v for v in case.inputs if isinstance(v, (np.ndarray, list))]
            if case.numpy is not None:
                given = [v.copy() if case.inplace and isinstance(v, np.ndarray) else v for v in arrays]
                ways["numpy"] = partial(case.numpy, *given)
            if case.torch is not None and torch is not None:
                ways["torch"] = partial(case.torch, *[tensor(v) for v in arrays])
            with np.errstate(all="ignore"):
                times = fastest(ways, time.thread_time if threads == 1 else time.perf_counter)
            found.append({"family": case.family, "operator": case.label, **times})
            executor.close()
    return found


def fastest(ways: dict[str, Callable[[], Any]], clock: Callable[[], float]) -> dict[str, float]:
    """Microseconds of each way's fastest call; they take turns."""
    best = dict.fromkeys(ways, float("inf"))
    spent = dict.fromkeys(ways, 0.0)
    for turn in range(200):
        if turn > 3 and all(s > _SECONDS for s in spent.values()):
            break
        for name, call in ways.items():
            if turn > 3 and spent[name] > _SECONDS:
                continue
            begin = clock()
            call()
            took = clock() - begin
            spent[name] += took
            if turn:
                best[name] = min(best[name], took * 1e6)
    return best


def show(rows: list[dict[str, Any]]) -> None:
    """The table, with the ratios."""
    from pyacl.bench import text

    lines: list[Sequence[str]] = []
    family = ""
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            lines.append([family])
        cells = [f"  {row['operator']}", f"{row['emulator']:.0f}"]
        for other in ("numpy", "torch"):
            cells += [f"{row[other]:.0f}", f"{row['emulator'] / row[other]:.2f}"] if other in row else ["", ""]
        lines.append(cells)
    text.table(["microseconds", "emulator", "numpy", "ratio", "PyTorch", "ratio"], lines)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Measures in a process of its own, whose libraries have the threads that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks operators", description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*", help="rows whose family or operator match (default all)")
    parser.add_argument("--threads", type=int, default=1, help="threads of all three (default 1)")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child:
        if pytorch():
            pytorch().set_num_threads(args.threads)
        Path(args.json).write_text(json.dumps(measure(args.pattern, args.threads)))
        return 0
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYACL_")}
    variables.update({"PYACL_BACKEND": "emulator", **dict.fromkeys(_THREADS, str(args.threads))})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run([sys.executable, "-m", "benchmarks.operators", args.pattern, "--threads", str(args.threads),
                        "--json", str(out), "--child"], check=True, env=variables)
        rows = json.loads(out.read_text())
    show(rows)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
