"""Recurrent networks back, cells, sequences of different lengths: torch's own, by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, to_torch, torch
from .sequences import gru_cell, lstm_cell, recurrent_inputs, steps


def draw_back(d: Draw) -> list[Any]:
    """A forward pass's inputs and what it kept, and gradients of its results."""
    states = 1 if "GRU" in d.name else 2
    x, params, start, _, bias, layers, _, _, both, first = recurrent_inputs(d)
    x, params = x.astype(np.float32), [p.astype(np.float32) for p in params]
    batch, size, ways = x.shape[0 if first else 1], params[1].shape[1], 2 if both else 1
    hx = [d.array((layers * ways, batch, size), np.float32, -1, 1) for _ in range(states)]
    dense = to_torch(x.transpose(1, 0, 2) if first else x)
    kept = [[t.numpy() for t in kind] for kind in steps(
        gru_cell if states == 1 else lstm_cell, dense, to_torch(params), to_torch(hx), bias, layers, both)]
    dy = d.array((*x.shape[:2], ways * size), np.float32)
    ends = [d.array(hx[0].shape, np.float32) for _ in range(states)]
    if states == 1:
        return [x, params, hx[0], dy, *ends, *kept, None, bias, layers, both, first]
    return [x, hx, params, dy, *ends, *kept, None, bias, layers, 0.0, True, both, first, None]


def back(call: Any, x: Any, hx: Any, params: Any, grads: Any, bias: bool, layers: int, both: bool, first: bool) -> Any:
    leaves = [t.clone().requires_grad_() for t in (x, *hx, *params)]
    h, weights = leaves[1:1 + len(hx)], leaves[1 + len(hx):]
    found = call(leaves[0].contiguous(), h if len(h) == 2 else h[0], weights, bias, layers, 0.0, True, both, first)
    torch.autograd.backward(found, grads)
    return (*(t.grad for t in leaves[:1 + len(hx)]), [t.grad for t in weights])


def lstm_back(x: Any, hx: Any, params: Any, dy: Any, dh: Any, dc: Any, *rest: Any) -> Any:
    bias, layers, _, _, both, first = rest[8:14]
    return back(torch._VF.lstm, x, hx, params, [dy, dh, dc], bias, layers, both, first)


def gru_back(x: Any, params: Any, hx: Any, dy: Any, dh: Any, *rest: Any) -> Any:
    bias, layers, both, first = rest[6:]
    return back(torch._VF.gru, x, [hx], params, [dy, dh], bias, layers, both, first)


# ---- one cell

def draw_cell(d: Draw) -> list[Any]:
    n, size, dtype = d.integer(1, 4), d.integer(1, 4), d.choice([np.float32, np.float16])
    biases = [d.array((4 * size,), dtype, -1, 1) if with_bias else None for with_bias in [d.flag()] * 2]
    return [d.array((n, 4 * size), dtype), d.array((n, 4 * size), dtype), d.array((n, size), dtype), *biases]


def cell(inputs: Any, hidden: Any, cx: Any, b_in: Any, b_hidden: Any) -> Any:
    """torch's LSTMCell with unit matrices in the place of the weights."""
    size = cx.shape[1]
    module = torch.nn.LSTMCell(4 * size, size)
    with torch.no_grad():
        module.weight_ih.copy_(torch.eye(4 * size))
        module.weight_hh.zero_()
        module.bias_ih.zero_()
        module.bias_hh.zero_()
    total = inputs + hidden + (0 if b_in is None else b_in + b_hidden)
    h, c = module(total, (torch.zeros_like(cx), cx))
    parts = total.chunk(4, 1)
    return h, c, torch.cat([torch.tanh(p) if k == 2 else torch.sigmoid(p) for k, p in enumerate(parts)], 1)


def draw_cell_back(d: Draw) -> list[Any]:
    values = draw_cell(d)
    values[:3] = [v.astype(np.float32) for v in values[:3]]
    _, cy, storage = cell(*[*to_torch(values[:3]), None, None])
    shape = values[2].shape
    grads = [d.array(shape, np.float32) if d.flag() else None for _ in range(2)]
    return [*grads, values[2], cy.detach().numpy(), storage.numpy(), d.flag()]


def cell_back(dh: Any, dc: Any, cx: Any, cy: Any, storage: Any, bias: bool) -> Any:
    i, f, g, o = storage.chunk(4, 1)
    total = torch.cat([torch.logit(i), torch.logit(f), torch.atanh(g), torch.logit(o)], 1).double().requires_grad_()
    cx = cx.double().requires_grad_()
    i, f, g, o = total.chunk(4, 1)
    c = torch.sigmoid(f) * cx + torch.sigmoid(i) * torch.tanh(g)
    loss = (torch.sigmoid(o) * torch.tanh(c) * (0 if dh is None else dh)).sum() + (c * (0 if dc is None else dc)).sum()
    loss.backward()
    return total.grad.float(), cx.grad.float(), total.grad.float().sum(0) if bias else torch.full((total.shape[1],), 3.0)


# ---- two ways

def draw_both(d: Draw) -> list[Any]:
    time, batch, width, size, both, bias = *(d.integer(1, 4) for _ in range(4)), d.flag(), d.flag()
    ways = 2 if both else 1

    def weights(there: bool) -> list[Any]:
        shapes = [(4 * size, width), (4 * size, size), (4 * size,), (4 * size,)]
        return [d.array(s, np.float16, -1, 1) if there and (bias or len(s) == 2) else None for s in shapes]

    states = [d.array((ways, batch, size), np.float16, -1, 1) for _ in range(2)]
    x = d.array((time, batch, width), np.float16)
    values = [x, *states, *weights(True), *weights(both)]
    if not d.name.endswith("V2"):
        return [*values, 1, bias, False, both]
    sizes = np.sort(d.rng.integers(1, batch + 1, time))[::-1].astype(np.int32) if d.flag() else None
    packed = sizes is not None and d.flag()
    if sizes is not None:
        sizes[0] = batch
    if sizes is not None and packed:
        values[0] = np.concatenate([x[t, :n] for t, n in enumerate(sizes)])
    return [*values, sizes, 1, bias, False, both, packed]


def both_ways(x: Any, h: Any, c: Any, *rest: Any) -> Any:
    weights, rest = rest[:8], rest[8:]
    sizes, (_, bias, _, both), packed = (None, rest, False) if len(rest) == 4 else (rest[0], rest[1:5], rest[5])
    params = [w for w in weights if w is not None]
    if sizes is None:
        return torch._VF.lstm(x, [h, c], params, bias, 1, 0.0, False, both, False)
    data = x if packed else torch.cat([x[t, :n] for t, n in enumerate(sizes.tolist())])
    y, *ends = torch._VF.lstm(data, sizes.long(), [h, c], params, bias, 1, 0.0, False, both)
    if not packed:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(torch.nn.utils.rnn.PackedSequence(y, sizes.long()))
    return (y, *ends)


ORACLES = {
    "LstmBackward": Oracle(lstm_back, draw_back, atol=1e-4, rtol=1e-4, cases=8),
    "GRUBackward": Oracle(gru_back, draw_back, atol=1e-4, rtol=1e-4, cases=8),
    "ThnnFusedLstmCell": Oracle(cell, draw_cell, atol=1e-5),
    "ThnnFusedLstmCellBackward": Oracle(cell_back, draw_cell_back, atol=1e-4, rtol=1e-3, cases=8),
    "BidirectionLSTM": Oracle(both_ways, draw_both, atol=1e-4, cases=8),
    "BidirectionLSTMV2": Oracle(both_ways, draw_both, atol=1e-4, cases=16),
}
