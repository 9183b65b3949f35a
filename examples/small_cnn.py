"""A small convolutional net, written with ``pyacl.ops`` alone.

    python examples/small_cnn.py
    PYACL_BACKEND=emulator python examples/small_cnn.py --batch 8 --dtype float16

Convolution, batch normalisation, ReLU, pooling, a grouped convolution, a linear layer and a softmax, all queued on one
stream; the host waits once, at the end. Where PyTorch is installed, its CPU build must agree.
"""

from __future__ import annotations

import argparse
from typing import Any, Optional, Sequence

import numpy as np

import pyacl
from pyacl import ops

CLASSES = 10


def weights(rng: np.random.Generator) -> dict[str, Any]:
    """Random weights and statistics, by name."""
    def normal(*shape: int) -> Any:
        return (rng.standard_normal(shape) * np.prod(shape[1:]) ** -0.5).astype(np.float32)

    return {
        "conv1": normal(16, 3, 3, 3), "bias1": rng.standard_normal(16).astype(np.float32),
        "mean": rng.standard_normal(16).astype(np.float32), "var": rng.uniform(0.5, 2, 16).astype(np.float32),
        "gamma": rng.uniform(0.5, 2, 16).astype(np.float32), "beta": rng.standard_normal(16).astype(np.float32),
        "conv2": normal(32, 4, 3, 3), "bias2": rng.standard_normal(32).astype(np.float32),
        "linear": normal(CLASSES, 32 * 2 * 2), "bias3": rng.standard_normal(CLASSES).astype(np.float32),
    }


class Net:
    """The weights on the device, and the operators that use them."""

    STATISTICS = ("mean", "var", "gamma", "beta")  # float32 whatever the net computes in

    def __init__(self, values: dict[str, Any], dtype: Any) -> None:
        self.dtype = dtype
        self.w = {name: pyacl.Tensor.from_numpy(v, dtype=None if name in self.STATISTICS else dtype,
                                                format="NCHW" if v.ndim == 4 else "ND")
                  for name, v in values.items()}

    def empty(self, *shape: int, dtype: Any = None) -> pyacl.Tensor:
        return pyacl.Tensor.empty(shape, dtype or self.dtype, format="NCHW" if len(shape) == 4 else "ND")

    def __call__(self, x: pyacl.Tensor, stream: pyacl.Stream) -> pyacl.Tensor:
        """Class probabilities of pictures (N, 3, H, W), both sides even."""
        w, (n, _, height, width) = self.w, x.shape
        conv = self.empty(n, 16, height, width)
        ops.aclnnConvolution(x, w["conv1"], w["bias1"], (1, 1), (1, 1), (1, 1), False, (0, 0), 1, conv, 0,
                             stream=stream)
        norm, unused = self.empty(n, 16, height, width), [self.empty(16, dtype=np.float32) for _ in range(2)]
        ops.aclnnBatchNorm(conv, w["gamma"], w["beta"], w["mean"], w["var"], False, 0.1, 1e-5, norm, *unused,
                           stream=stream)
        ops.aclnnInplaceRelu(norm, stream=stream)
        half = (n, 16, height // 2, width // 2)
        pooled, indices = self.empty(*half), self.empty(*half, dtype=np.int32)
        ops.aclnnMaxPool2dWithIndices(norm, (2, 2), (2, 2), (0, 0), (1, 1), False, pooled, indices, stream=stream)
        grouped = self.empty(n, 32, height // 2, width // 2)
        ops.aclnnConvolution(pooled, w["conv2"], w["bias2"], (1, 1), (1, 1), (1, 1), False, (0, 0), 4, grouped, 0,
                             stream=stream)
        active, means = self.empty(*grouped.shape), self.empty(n, 32, 2, 2)
        ops.aclnnGelu(grouped, active, stream=stream)
        ops.aclnnAdaptiveAvgPool2d(active, (2, 2), means, stream=stream)
        logits, result = self.empty(n, CLASSES), self.empty(n, CLASSES)
        ops.aclnnAddmm(w["bias3"], means.reshape(n, -1), w["linear"].T, 1.0, 1.0, logits, 0, stream=stream)
        ops.aclnnSoftmax(logits, -1, result, stream=stream)
        return result


def reference(values: dict[str, Any], x: Any) -> Optional[Any]:
    """What PyTorch's CPU build gives in float32; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    w = {name: torch.from_numpy(v) for name, v in values.items()}
    f = torch.nn.functional
    y = f.conv2d(torch.from_numpy(x), w["conv1"], w["bias1"], padding=1)
    y = f.relu(f.batch_norm(y, w["mean"], w["var"], w["gamma"], w["beta"]))
    y = f.gelu(f.conv2d(f.max_pool2d(y, 2), w["conv2"], w["bias2"], padding=1, groups=4), approximate="tanh")
    y = f.linear(f.adaptive_avg_pool2d(y, 2).flatten(1), w["linear"], w["bias3"])
    return torch.softmax(y, -1).numpy()


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description="A small convolutional net.")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=32, help="height and width of the pictures")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    values, pictures = weights(rng), rng.standard_normal((args.batch, 3, args.size, args.size)).astype(np.float32)
    with pyacl.Device(0), pyacl.Stream() as stream:
        net = Net(values, np.dtype(args.dtype))
        result = net(pyacl.Tensor.from_numpy(pictures, dtype=net.dtype, format="NCHW"), stream)
        stream.synchronize()
        found = result.numpy().astype(np.float32)
    print("classes:", " ".join(str(c) for c in found.argmax(1)))
    wanted = reference(values, pictures)
    if wanted is None:
        print("PyTorch is not installed: nothing to compare with")
        return
    worst = float(np.abs(found - wanted).max())
    print(f"furthest from PyTorch: {worst:.1e}")
    if not worst < (1e-5 if args.dtype == "float32" else 1e-2):
        raise SystemExit("the net does not agree with PyTorch")


if __name__ == "__main__":
    main()
