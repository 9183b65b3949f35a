"""One block of a decoder, written with ``pyacl.ops`` alone.

    python examples/transformer_block.py
    PYACL_BACKEND=emulator python examples/transformer_block.py --tokens 128 --dtype float32

RmsNorm, a matmul for queries, keys and values, rotary embeddings, causal attention, SwiGlu and two residuals. All of it
is queued on one stream; the host waits once, at the end. Where PyTorch is installed, its CPU build must agree.
"""

from __future__ import annotations

import argparse
from typing import Any, Optional, Sequence

import numpy as np

import pyacl
from pyacl import ops

HEADS, WIDTH = 4, 64  # attention heads and numbers in each
HIDDEN = HEADS * WIDTH
INNER = 2 * HIDDEN
EPSILON = 1e-6


def weights(rng: np.random.Generator) -> dict[str, Any]:
    def normal(rows: int, columns: int) -> Any:
        return (rng.standard_normal((rows, columns)) * rows ** -0.5).astype(np.float32)

    return {
        "norm1": rng.uniform(0.5, 1.5, HIDDEN).astype(np.float32), "qkv": normal(HIDDEN, 3 * HIDDEN),
        "out": normal(HIDDEN, HIDDEN), "norm2": rng.uniform(0.5, 1.5, HIDDEN).astype(np.float32),
        "up": normal(HIDDEN, 2 * INNER), "down": normal(INNER, HIDDEN),
    }


def rotary_tables(tokens: int) -> tuple[Any, Any]:
    """Cosines and sines (1, tokens, 1, WIDTH); both halves of a head turn by the same angles."""
    angles = np.outer(np.arange(tokens), 10000.0 ** (-np.arange(0, WIDTH, 2) / WIDTH))
    angles = np.concatenate((angles, angles), -1)[None, :, None]
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


class Block:
    """The weights on the device, and the operators that use them."""

    def __init__(self, values: dict[str, Any], dtype: Any) -> None:
        self.dtype = dtype
        self.w = {name: pyacl.Tensor.from_numpy(v, dtype=dtype) for name, v in values.items()}

    def empty(self, *shape: int, dtype: Any = None) -> pyacl.Tensor:
        return pyacl.Tensor.empty(shape, dtype or self.dtype)

    def norm(self, x: pyacl.Tensor, name: str, stream: pyacl.Stream) -> pyacl.Tensor:
        y, rstd = self.empty(*x.shape), self.empty(*x.shape[:-1], 1, dtype=np.float32)
        ops.aclnnRmsNorm(x, self.w[name], EPSILON, y, rstd, stream=stream)
        return y

    def project(self, x: pyacl.Tensor, name: str, stream: pyacl.Stream) -> pyacl.Tensor:
        y = self.empty(*x.shape[:-1], self.w[name].shape[1])
        ops.aclnnMatmul(x, self.w[name], y, 0, stream=stream)
        return y

    def attend(self, x: pyacl.Tensor, stream: pyacl.Stream) -> pyacl.Tensor:
        batch, tokens, _ = x.shape
        qkv = self.project(x, "qkv", stream).reshape(batch, tokens, 3, HEADS, WIDTH)
        cos, sin = (pyacl.Tensor.from_numpy(t, dtype=self.dtype) for t in rotary_tables(tokens))
        turned = [self.empty(batch, tokens, HEADS, WIDTH) for _ in range(2)]
        for i, out in enumerate(turned):  # slices are views; nothing is copied
            ops.aclnnRotaryPositionEmbedding(qkv[:, :, i], cos, sin, 0, out, stream=stream)
        hidden = pyacl.Tensor.from_numpy(np.triu(np.ones((tokens, tokens), bool), 1))
        statistics = [self.empty(batch, HEADS, tokens, 8, dtype=np.float32) for _ in range(2)]
        found = self.empty(batch, tokens, HEADS, WIDTH)
        ops.aclnnFlashAttentionScore(turned[0], turned[1], qkv[:, :, 2], None, None, None, hidden, None, WIDTH ** -0.5,
                                     1.0, 65536, 65536, HEADS, "BSND", 0, 0, statistics[0], statistics[1], None, found,
                                     stream=stream)
        return self.project(found.reshape(batch, tokens, HIDDEN), "out", stream)

    def __call__(self, x: pyacl.Tensor, stream: pyacl.Stream) -> pyacl.Tensor:
        """(batch, tokens, HIDDEN) to the same."""
        middle, result = self.empty(*x.shape), self.empty(*x.shape)
        ops.aclnnAdd(x, self.attend(self.norm(x, "norm1", stream), stream), 1.0, middle, stream=stream)
        gated = self.empty(*x.shape[:-1], INNER)
        ops.aclnnSwiGlu(self.project(self.norm(middle, "norm2", stream), "up", stream), -1, gated, stream=stream)
        ops.aclnnAdd(middle, self.project(gated, "down", stream), 1.0, result, stream=stream)
        return result


def reference(values: dict[str, Any], x: Any) -> Optional[Any]:
    """What PyTorch's CPU build gives in float32; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    f, w = torch.nn.functional, {name: torch.from_numpy(v) for name, v in values.items()}
    batch, tokens, _ = x.shape
    cos, sin = (torch.from_numpy(t) for t in rotary_tables(tokens))

    def norm(x: Any, gamma: Any) -> Any:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * gamma

    def turn(x: Any) -> Any:
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    x = torch.from_numpy(x)
    q, k, v = (norm(x, w["norm1"]) @ w["qkv"]).reshape(batch, tokens, 3, HEADS, WIDTH).unbind(2)
    found = f.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (turn(q), turn(k), v)), is_causal=True)
    x = x + found.transpose(1, 2).reshape(batch, tokens, HIDDEN) @ w["out"]
    a, b = (norm(x, w["norm2"]) @ w["up"]).chunk(2, -1)
    return (x + (f.silu(a) * b) @ w["down"]).numpy()


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description="One block of a decoder.")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float16")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    values, x = weights(rng), rng.standard_normal((args.batch, args.tokens, HIDDEN)).astype(np.float32)
    with pyacl.Device(0), pyacl.Stream() as stream:
        block = Block(values, np.dtype(args.dtype))
        result = block(pyacl.Tensor.from_numpy(x, dtype=block.dtype), stream)
        stream.synchronize()
        found = result.numpy().astype(np.float32)
    print(f"{args.batch} x {args.tokens} tokens, root mean square {np.sqrt(np.square(found).mean()):.3f}")
    wanted = reference(values, x)
    if wanted is None:
        print("PyTorch is not installed: nothing to compare with")
        return
    worst = float(np.abs(found - wanted).max())
    print(f"furthest from PyTorch: {worst:.1e}")
    if not worst < (1e-4 if args.dtype == "float32" else 3e-2):
        raise SystemExit("the block does not agree with PyTorch")


if __name__ == "__main__":
    main()
