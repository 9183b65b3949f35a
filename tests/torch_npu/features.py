"""What torch_npu must be able to do, each case against the CPU. Prints one line of JSON: case -> "ok" or what failed.

Run by test_torch_npu.py in the Python that has torch_npu; with names as arguments it runs those cases alone.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any, Callable

import torch
import torch_npu  # noqa: F401
from torch import nn
from torch.nn import functional as F

Function = Callable[..., object]
CASES: dict[str, Callable[[], None]] = {}


def compare(actual: object, expected: object, tolerance: float) -> None:
    if isinstance(expected, torch.Tensor):
        assert isinstance(actual, torch.Tensor)
        assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, not {expected.dtype}"
        torch.testing.assert_close(actual.cpu(), expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    elif isinstance(expected, (tuple, list)):
        for a, e in zip(actual, expected):  # type: ignore[call-overload]
            compare(a, e, tolerance)
    else:
        assert actual == expected, f"{actual}, not {expected}"


def same(name: str, function: Function, *inputs: object, tolerance: float = 1e-4) -> None:
    """A case: `function` of `inputs` on the NPU equals itself on the CPU."""

    def run() -> None:
        moved = [i.npu() if isinstance(i, torch.Tensor) else i for i in inputs]
        compare(function(*moved), function(*inputs), tolerance)

    CASES[name] = run


def case(function: Callable[[], None]) -> None:
    CASES[function.__name__] = function


torch.manual_seed(0)
x, y, row = torch.randn(4, 6), torch.randn(4, 6), torch.randn(6)
positive = x.abs() + 0.5
whole = torch.randint(-9, 9, (4, 6))
image = torch.randn(2, 3, 8, 8)

# Copies, casts and creation.
same("to and back", lambda t: t, x)
same("clone", lambda t: t.clone(), x)
same("copy_ between", lambda t: torch.empty_like(t).copy_(t), x)
same("transposed to contiguous", lambda t: t.t().contiguous(), x)
same("strided copy", lambda t: t[::2, 1::2].contiguous(), x)
same("zeros_like", torch.zeros_like, x)
same("ones_like", torch.ones_like, x)
same("full_like", lambda t: torch.full_like(t, 3.5), x)
same("fill_", lambda t: t.clone().fill_(2), x)
same("zero_", lambda t: t.clone().zero_(), x)
same("arange", lambda t: torch.arange(0, 10, 2, device=t.device), x)
same("linspace", lambda t: torch.linspace(0, 1, 5, device=t.device), x)
same("eye", lambda t: torch.eye(4, device=t.device), x)
for kind in ("float16", "bfloat16", "int32", "int64", "bool", "int16", "int8", "uint8"):
    same(f"cast to {kind}", lambda t, kind=kind: (t * 3).abs().to(getattr(torch, kind)), x, tolerance=1e-2)
same("item", lambda t: t[1, 2].item(), x)
same("tolist", lambda t: t.tolist(), whole)

# Arithmetic, with broadcasting and scalars.
for operator in ("add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"):
    same(operator, getattr(torch, operator), x, y)
    same(f"{operator} broadcast", getattr(torch, operator), x, row)
for name, function in {
    "add scalar": lambda t: t + 2, "sub scalar": lambda t: t - 2.5, "rsub scalar": lambda t: 1 - t,
    "less scalar": lambda t: t < 0.1, "equal scalar": lambda t: t == 0,
    "mul scalar": lambda t: t * 3, "div scalar": lambda t: t / 4, "rdiv scalar": lambda t: 1 / t,
    "pow scalar": lambda t: t ** 2, "compare scalar": lambda t: t > 0, "add alpha": lambda t: torch.add(t, t, alpha=3),
    "add_": lambda t: t.clone().add_(t), "mul_": lambda t: t.clone().mul_(2), "sub_": lambda t: t.clone().sub_(t),
    "div_": lambda t: t.clone().div_(2), "neg": lambda t: -t, "abs": torch.abs, "sign": torch.sign,
    "exp": torch.exp, "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "square": torch.square, "erf": torch.erf,
    "clamp": lambda t: t.clamp(-0.5, 0.5), "clamp min": lambda t: t.clamp(min=0), "isnan": torch.isnan,
    "isfinite": torch.isfinite, "reciprocal": torch.reciprocal, "addcmul": lambda t: torch.addcmul(t, t, t, value=2),
    "addcdiv": lambda t: torch.addcdiv(t, t, t.abs() + 1, value=2), "lerp": lambda t: torch.lerp(t, t * 2, 0.5),
}.items():
    same(name, function, x)
for name, function in {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "log1p": torch.log1p,
                       "pow": lambda t: t.pow(1.5), "remainder": lambda t: torch.remainder(t, 0.7)}.items():
    same(name, function, positive)
same("integer add", torch.add, whole, whole)
same("integer mul", torch.mul, whole, whole)
same("floor divide", lambda t: torch.div(t, 3, rounding_mode="floor"), whole)
same("int plus float", torch.add, whole, x)
same("half add", torch.add, x.half(), y.half(), tolerance=1e-2)
same("logical and", torch.logical_and, x > 0, y > 0)
same("logical not", torch.logical_not, x > 0)
same("bitwise and", torch.bitwise_and, whole, whole + 1)

# Linear algebra.
same("matmul", torch.matmul, x, y.t())
same("mm", torch.mm, x, torch.randn(6, 3))
same("bmm", torch.bmm, torch.randn(3, 4, 5), torch.randn(3, 5, 2))
same("matmul batch broadcast", torch.matmul, torch.randn(2, 3, 4, 5), torch.randn(5, 6))
same("addmm", torch.addmm, torch.randn(3), x, torch.randn(6, 3))
same("linear", F.linear, x, torch.randn(3, 6), torch.randn(3))
same("mv", torch.mv, x, row)
same("dot", torch.dot, row, row)
same("half matmul", torch.matmul, x.half(), y.half().t(), tolerance=2e-2)
same("baddbmm", torch.baddbmm, torch.randn(3, 4, 2), torch.randn(3, 4, 5), torch.randn(3, 5, 2))

# Reductions.
for name, function in {
    "sum": torch.sum, "sum dim": lambda t: t.sum(1), "mean": torch.mean, "mean dim": lambda t: t.mean(0, keepdim=True),
    "max": torch.max, "max dim": lambda t: t.max(1), "min": torch.min, "argmax": lambda t: t.argmax(1),
    "argmin": lambda t: t.argmin(0), "var": torch.var, "std": lambda t: t.std(1), "norm": torch.norm,
    "amax": lambda t: t.amax(1), "amin": lambda t: t.amin(0), "prod": lambda t: t.prod(1),
    "cumsum": lambda t: t.cumsum(1), "all": lambda t: (t > -9).all(), "any": lambda t: (t > 9).any(),
    "logsumexp": lambda t: t.logsumexp(1), "topk": lambda t: t.topk(2, 1), "sort": lambda t: t.sort(1),
    "softmax": lambda t: t.softmax(1), "log_softmax": lambda t: t.log_softmax(1),
}.items():
    same(name, function, x)
same("integer sum", torch.sum, whole)

# Indexing, joining, choosing.
index = torch.tensor([0, 2, 1])
for name, function, *inputs in (
    ("slice", lambda t: t[1:3, 2:], x), ("index tensor", lambda t, i: t[i], x, index),
    ("index pair", lambda t, i: t[i, i], x, index), ("mask", lambda t: t[t > 0], x),
    ("slice write", lambda t: _write(t, (slice(1, 3),), 7.0), x),
    ("index write", lambda t, i: _write(t, (i,), 7.0), x, index), ("mask write", lambda t: _write(t, (t > 0,), 0.0), x),
    ("index_select", lambda t, i: t.index_select(1, i), x, index),
    ("gather", lambda t, i: t.gather(1, i.view(3, 1)), x[:3], index),
    ("scatter", lambda t, i: t.clone().scatter_(1, i.view(3, 1), 5.0), x[:3], index),
    ("masked_fill", lambda t: t.masked_fill(t > 0, -1.0), x), ("where", lambda t: torch.where(t > 0, t, -t), x),
    ("where scalar", lambda t: torch.where(t > 0, t, 0.0), x), ("nonzero", lambda t: torch.nonzero(t > 0), x),
    ("cat", lambda a, b: torch.cat([a, b], 1), x, y), ("stack", lambda a, b: torch.stack([a, b]), x, y),
    ("split", lambda t: t.split(2, 1), x), ("chunk", lambda t: t.chunk(2), x), ("view", lambda t: t.view(6, 4), x),
    ("permute", lambda t: t.permute(1, 0).contiguous(), x), ("expand", lambda t: t.expand(3, 6).contiguous(), row),
    ("repeat", lambda t: t.repeat(2, 2), x), ("flip", lambda t: t.flip(1), x), ("roll", lambda t: t.roll(1, 0), x),
    ("tril", torch.tril, x), ("triu", torch.triu, x), ("pad", lambda t: F.pad(t, (1, 2)), x),
    ("one_hot", lambda t: F.one_hot(t, 4), index), ("embedding", lambda t, i: F.embedding(i, t), x, index),
):
    same(name, function, *inputs)


def _write(tensor: torch.Tensor, where: object, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[where] = value
    return changed


# Layers.
for name, function in {
    "relu": F.relu, "gelu by tanh": lambda t: F.gelu(t, approximate="tanh"), "silu": F.silu,
    "leaky_relu": F.leaky_relu, "elu": F.elu,
    "hardtanh": F.hardtanh, "softplus": F.softplus, "layer_norm": lambda t: F.layer_norm(t, (6,)),
    "normalize": F.normalize,
}.items():
    same(name, function, x)
# The device computes it by tanh, whatever it is asked for.
same("gelu", F.gelu, x, tolerance=1e-3)
weight = torch.randn(4, 3, 3, 3)
same("conv2d", lambda i, w: F.conv2d(i, w, padding=1), image, weight, tolerance=1e-3)
same("conv2d stride and bias", lambda i, w: F.conv2d(i, w, torch.ones(4, device=i.device), stride=2), image, weight,
     tolerance=1e-3)
same("conv1d", F.conv1d, torch.randn(2, 3, 9), torch.randn(4, 3, 3), tolerance=1e-3)
same("conv_transpose2d", F.conv_transpose2d, image, torch.randn(3, 2, 3, 3), tolerance=1e-3)
same("batch_norm training", lambda t: F.batch_norm(t, None, None, training=True), image, tolerance=1e-3)
same("batch_norm inference", lambda t: F.batch_norm(t, torch.zeros(3, device=t.device), torch.ones(3, device=t.device)),
     image, tolerance=1e-3)
same("group_norm", lambda t: F.group_norm(t, 3), image, tolerance=1e-3)
same("max_pool2d", lambda t: F.max_pool2d(t, 2), image)
same("avg_pool2d", lambda t: F.avg_pool2d(t, 2), image)
same("adaptive_avg_pool2d", lambda t: F.adaptive_avg_pool2d(t, 1), image)
same("interpolate nearest", lambda t: F.interpolate(t, scale_factor=2), image)
same("mse_loss", F.mse_loss, x, y)
same("l1_loss", F.l1_loss, x, y)
same("cross_entropy", F.cross_entropy, x, torch.tensor([0, 5, 2, 1]))
same("nll_loss", lambda t, i: F.nll_loss(t.log_softmax(1), i), x, torch.tensor([0, 5, 2, 1]))
same("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, x, (y > 0).float())


def gradient(function: Function, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    leaves = [i.detach().clone().requires_grad_() if i.is_floating_point() else i for i in inputs]
    result: Any = function(*leaves)
    (result * torch.arange(result.numel(), device=result.device).view(result.shape)).sum().backward()
    return tuple(leaf.grad for leaf in leaves if leaf.grad is not None)


for name, function, *inputs in (
    ("add", torch.add, x, row), ("mul", torch.mul, x, row), ("div", torch.div, x, positive),
    ("matmul", torch.matmul, x, y.t()), ("linear", F.linear, x, torch.randn(3, 6), torch.randn(3)),
    ("relu", F.relu, x), ("gelu", lambda t: F.gelu(t, approximate="tanh"), x),
    ("tanh", torch.tanh, x), ("sigmoid", torch.sigmoid, x),
    ("exp", torch.exp, x), ("softmax", lambda t: t.softmax(1), x), ("log_softmax", lambda t: t.log_softmax(1), x),
    ("silu", F.silu, x), ("sum", lambda t: t.sum(1), x), ("mean", lambda t: t.mean(1), x),
    ("max", lambda t: t.max(1)[0], x), ("pow", lambda t: t ** 3, x), ("sqrt", torch.sqrt, positive),
    ("log", torch.log, positive), ("where", lambda t: torch.where(t > 0, t, t * 2), x),
    ("index", lambda t: t[1:3], x), ("index tensor", lambda t, i: t[i], x, index),
    ("cat", lambda a, b: torch.cat([a, b]), x, y), ("transpose", lambda t: t.t() * 2, x),
    ("expand", lambda t: t.expand(3, 6) * 2, row), ("layer_norm", lambda t, w: F.layer_norm(t, (6,), w), x, row),
    ("batch_norm", lambda t: F.batch_norm(t, None, None, training=True), image),
    ("conv2d", lambda i, w: F.conv2d(i, w, padding=1), image, weight),
    ("max_pool2d", lambda t: F.max_pool2d(t, 2), image), ("avg_pool2d", lambda t: F.avg_pool2d(t, 2), image),
    ("adaptive_avg_pool2d", lambda t: F.adaptive_avg_pool2d(t, 2), image),
    ("embedding", lambda t, i: F.embedding(i, t), x, index), ("mse_loss", F.mse_loss, x, y),
):
    same(f"gradient of {name}", lambda *leaves, f=function: gradient(f, *leaves), *inputs, tolerance=2e-3)


# Optimizers.
for optimizer in ("SGD", "Adam", "AdamW", "RMSprop"):
    def steps(start: torch.Tensor, optimizer: str = optimizer) -> torch.Tensor:
        weight = nn.Parameter(start.clone())
        stepper = getattr(torch.optim, optimizer)([weight], lr=0.1)
        for _ in range(3):
            stepper.zero_grad()
            (weight * weight).sum().backward()
            stepper.step()
        return weight.detach()

    same(f"optimizer {optimizer}", steps, x)


# The device itself.
@case
def one_device() -> None:
    assert torch.npu.is_available()
    assert torch.npu.device_count() == 1
    assert torch.npu.current_device() == 0
    assert "Ascend" in torch.npu.get_device_name(0)


@case
def memory_is_counted() -> None:
    before = torch.npu.memory_allocated()
    kept = torch.empty(1 << 20, device="npu")
    assert torch.npu.memory_allocated() - before >= kept.numel() * 4
    free, total = torch.npu.mem_get_info()
    assert 0 < free <= total


@case
def streams_and_events() -> None:
    stream = torch.npu.Stream()
    begin, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    source = x.npu()
    stream.wait_stream(torch.npu.current_stream())
    with torch.npu.stream(stream):
        begin.record()
        product = source @ source.t()
        end.record()
    torch.npu.current_stream().wait_event(end)
    compare(product + 1, x @ x.t() + 1, 1e-4)
    end.synchronize()
    assert end.query()
    assert begin.elapsed_time(end) >= 0
    stream.synchronize()
    assert stream.query()


@case
def more_events_than_a_queue_holds() -> None:
    event = torch.npu.Event()
    for _ in range(10000):  # without ever letting go of the GIL inside
        event.record()
    event.synchronize()
    assert event.query()


@case
def non_blocking_copies() -> None:
    pinned = x.pin_memory()
    moved = pinned.to("npu", non_blocking=True)
    torch.npu.synchronize()
    compare(moved, x, 0)


@case
def generator() -> None:
    torch.npu.manual_seed(7)
    first = torch.randn(1000, device="npu")
    torch.npu.manual_seed(7)
    compare(torch.randn(1000, device="npu"), first.cpu(), 0)
    assert abs(first.mean().item()) < 0.2
    assert 0.8 < first.std().item() < 1.2
    uniform = torch.rand(1000, device="npu").cpu()
    assert uniform.min() >= 0
    assert uniform.max() < 1


@case
def dropout() -> None:
    dropped = F.dropout(torch.ones(1000, device="npu"), 0.5).cpu()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert 350 < int((dropped == 0).sum()) < 650


@case
def an_operator_that_is_missing_raises() -> None:
    try:
        torch.linalg.svd(x.npu().double())
    except RuntimeError:
        return
    # Where torch_npu computes it on the CPU instead, the result must be right.


@case
def autocast() -> None:
    with torch.autocast("npu", dtype=torch.float16):
        product = torch.mm(x.npu(), y.t().npu())
    assert product.dtype == torch.float16


def main() -> None:
    results = {}
    for name in sys.argv[1:] or CASES:
        try:
            CASES[name]()
            results[name] = "ok"
        except Exception as error:
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            results[name] = f"{type(error).__name__}: {first[:300]}"
            if sys.argv[1:]:
                traceback.print_exc()
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
