"""What flows back through recurrent networks; single cells; the two-way LSTM whose sequences end at different steps.

Rows of weights and gates are in the order i, f, g, o (LSTM) and r, z, n (GRU).
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ...capi import lib
from .recurrent import lstm_run, shapes
from .registry import by_name, define
from .rules import reject
from .unary import sigmoid

TILING = lib.ACLNN_ERR_INNER_TILING_ERROR
Given = dict[str, Any]
_HALF = "f32 f16"


# ---- one step back: (gates as the input sees them, as the hidden state does, what else reaches the states before)

def lstm_back(kept: Any, before: Any, grads: Any) -> Any:
    i, g, f, o, _, _, t = kept
    dh, dc = grads
    dc = dh * o * (1 - t * t) + dc
    gates = np.concatenate((dc * g * i * (1 - i), dc * before[1] * f * (1 - f), dc * i * (1 - g * g),
                            dh * t * o * (1 - o)), axis=1)
    return gates, gates, [np.zeros_like(dh), dc * f]


def gru_back(kept: Any, before: Any, grads: Any) -> Any:
    r, z, n, hidden, _ = kept
    dh, = grads
    dn = dh * (1 - z) * (1 - n * n)
    both = [dn * hidden * r * (1 - r), dh * (before[0] - n) * z * (1 - z)]
    return np.concatenate((*both, dn), axis=1), np.concatenate((*both, dn * r), axis=1), [dh * z]


def layer_back(step: Callable[..., Any], x: Any, weights: Any, dy: Any, grads: Any, kept: Any, states: Any, start: Any,
               reverse: bool) -> Any:
    """(dx, gradients of the parameters, of the first states) of one layer in one direction.

    `kept` has what the forward pass kept of each step, in the order of time, and `states` those of it that are states.
    """
    order = range(len(x)) if reverse else range(len(x) - 1, -1, -1)
    before = [np.concatenate((s[1:], first[None]) if reverse else (first[None], s[:-1]))
              for s, first in zip(states, start)]
    by_input, by_hidden = (np.empty((*x.shape[:2], weights[1].shape[0]), np.float32) for _ in range(2))
    for t in order:
        grads = [grads[0] + dy[t], *grads[1:]]
        by_input[t], by_hidden[t], grads = step([k[t] for k in kept], [b[t] for b in before], grads)
        grads[0] = grads[0] + by_hidden[t] @ weights[1]
    found = [np.tensordot(by_input, x, ((0, 1), (0, 1))), np.tensordot(by_hidden, before[0], ((0, 1), (0, 1))),
             by_input.sum(axis=(0, 1)), by_hidden.sum(axis=(0, 1))]
    return by_input @ weights[0], found[:len(weights)], grads


def network_back(step: Callable[..., Any], kept: str, states: str) -> Callable[[Given], Any]:
    """Layers and directions around `step`, from the last one back; `kept` are the names of what was kept."""
    def compute(given: Given) -> Any:
        layers, ways = given["numLayers"], 2 if both_ways(given) else 1
        each = 4 if given["hasBias"] else 2
        hx, ends = given["hx"], [given["dh"]] if len(states) == 1 else [given["dh"], given["dc"]]
        hx = hx if isinstance(hx, list) else [hx]
        first = given["batchFirst"]
        x, dy = (t.transpose(1, 0, 2) if first else t for t in (given["input"], given["dy"]))
        params: list[Any] = [None] * (layers * ways)
        starts: list[Any] = [None] * (layers * ways)
        for at in range(layers - 1, -1, -1):
            below = x if at == 0 else np.concatenate(given["h"][(at - 1) * ways:at * ways], axis=-1)
            parts, size = np.split(dy, ways, axis=-1), at * ways
            dy = 0
            for way in range(ways):
                i = size + way
                dx, params[i], starts[i] = layer_back(
                    step, below, given["params"][i * each:(i + 1) * each], parts[way], [e[i] for e in ends],
                    [given[n][i] for n in kept.split()], [given[n][i] for n in states], [h[i] for h in hx], way == 1)
                dy = dy + dx
        dx = dy.transpose(1, 0, 2) if first else dy
        return (dx, *(np.stack(s) for s in zip(*starts)), *(p for own in params for p in own))

    return compute


def both_ways(given: Given) -> bool:
    return bool(given.get("bidirectional", given.get("bidirection")))


def network_shape(gates: int, kept: str) -> Callable[[Given], Any]:
    def shape(given: Given) -> Any:
        x, layers, first = given["input"], given["numLayers"], given["batchFirst"]
        states = gates - 2
        sizes = given.get("batchSizesOptional", given.get("batchSizes"))
        if sizes is not None and sizes.size == 0:
            sizes = None
        wanted = shapes(gates, states, 0)(x, given["params"], given["hx"], sizes, given["hasBias"], layers, 0.0, False,
                                          both_ways(given), first)
        end = wanted[1]
        time, batch = x.shape[1::-1] if first else x.shape[:2]
        if tuple(given["dy"].shape) != wanted[0] or any(tuple(given[n].shape) != end for n in ("dh", "dc")[:states]):
            reject(f"dy {list(given['dy'].shape)} must have {list(wanted[0])}, dh and dc {list(end)}")
        for name in kept.split():
            if len(given[name]) != end[0] or any(tuple(t.shape) != (time, batch, end[2]) for t in given[name]):
                reject(f"{name} must have {end[0]} tensors of shape {[time, batch, end[2]]}")
        return (tuple(x.shape), *(end,) * states, *(tuple(p.shape) for p in given["params"]))

    return shape


# ---- one cell, from what its two products gave

def lstm_cell(inputs: Any, hidden: Any, cx: Any, b_in: Any, b_hidden: Any) -> Any:
    gates = inputs + hidden
    if b_in is not None:
        gates = gates + (b_in + b_hidden)
    i, f, g, o = np.split(gates, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * cx + i * g
    return o * np.tanh(c), c, np.concatenate((i, f, g, o), axis=1)


def lstm_cell_shape(inputs: Any, hidden: Any, cx: Any, b_in: Any, b_hidden: Any) -> Any:
    if cx.ndim != 2 or any(tuple(t.shape) != (cx.shape[0], 4 * cx.shape[1]) for t in (inputs, hidden)):
        reject(f"cx {list(cx.shape)} must be (batch, hidden), inputGates {list(inputs.shape)} and hiddenGates "
               f"{list(hidden.shape)} (batch, 4 * hidden)")
    if (b_in is None) != (b_hidden is None) or b_in is not None and any(
            tuple(b.shape) != (4 * cx.shape[1],) for b in (b_in, b_hidden)):
        reject("both biases must be there or none, of shape (4 * hidden)")
    same_type(inputs, hidden, cx, b_in, b_hidden)
    return tuple(cx.shape), tuple(cx.shape), tuple(inputs.shape)


def lstm_cell_back(dh: Any, dc: Any, cx: Any, cy: Any, storage: Any, bias: bool) -> Any:
    i, f, g, o = np.split(storage, 4, axis=1)
    dh, dc = (np.zeros_like(cx) if grad is None else grad for grad in (dh, dc))
    gates, _, (_, before) = lstm_back((i, g, f, o, None, None, np.tanh(cy)), (None, cx), (dh, dc))
    return gates, before, gates.sum(axis=0) if bias else None


def lstm_cell_back_shape(dh: Any, dc: Any, cx: Any, cy: Any, storage: Any, bias: bool) -> Any:
    if cx.ndim != 2 or tuple(storage.shape) != (cx.shape[0], 4 * cx.shape[1]) or any(
            t is not None and t.shape != cx.shape for t in (dh, dc, cy)):
        reject(f"cx {list(cx.shape)} must be (batch, hidden), as cy, gradHy and gradC; storage {list(storage.shape)} "
               "(batch, 4 * hidden)")
    same_type(dh, dc, cx, cy, storage)
    return tuple(storage.shape), tuple(cx.shape), (4 * cx.shape[1],)


def same_type(*tensors: Any) -> None:
    if len({t.dtype for t in tensors if t is not None}) > 1:
        reject("all tensors must be of one type")


# ---- two ways, sequences of different lengths

def lstm_both(given: Given) -> Any:
    """Steps take the first sequences only, as many as batchSize says; a sequence's states are those of its last step.

    Packed, x has only the rows that take part, step by step.
    """
    x, h0, c0, sizes = given["x"], given["initH"], given["initC"], given.get("batchSizeOptional")
    batch = h0.shape[1]
    counts = np.full(len(x), batch) if sizes is None else sizes
    inside = np.arange(batch) < counts[:, None]
    packed = sizes is not None and given["packed"]
    if packed:
        dense = np.zeros((*inside.shape, x.shape[1]), np.float32)
        dense[inside] = x
        x = dense
    outputs, ends = [], []
    for way in range(2 if given["bidirection"] else 1):
        suffix = "ReverseOptional" if way else ""
        weight = [given[f"{n}{suffix}"] for n in ("wIh", "wHh")]
        names = [f"{n}{suffix or 'Optional'}" for n in ("bIh", "bHh")]
        bias = [given[n] if given["isbias"] else np.float32(0) for n in names]
        gates = x @ weight[0].T + bias[0]
        h, c = h0[way].copy(), c0[way].copy()
        out = np.zeros((*inside.shape, h0.shape[2]), np.float32)
        for t in range(len(x) - 1, -1, -1) if way else range(len(x)):
            n = int(counts[t])
            _, (h[:n], c[:n]) = lstm_run(gates[t:t + 1, :n], weight[1], bias[1], (h[:n], c[:n]))
            out[t, :n] = h[:n]
        outputs.append(out)
        ends.append((h, c))
    y = np.concatenate(outputs, axis=-1)
    return (y[inside] if packed else y, *(np.stack(s) for s in zip(*ends)))


def lstm_both_shape(given: Given) -> Any:
    x, h, c, sizes, both = given["x"], given["initH"], given["initC"], given.get("batchSizeOptional"), \
        given["bidirection"]
    packed, ways = sizes is not None and given["packed"], 2 if both else 1
    if given["numLayers"] != 1 or given["batchFirst"]:
        reject(f"numLayers {given['numLayers']} must be 1 and batchFirst false", TILING)
    if x.ndim != (2 if packed else 3) or h.ndim != 3 or h.shape[0] != ways or c.shape != h.shape \
            or not packed and h.shape[1] != x.shape[1]:
        reject(f"x {list(x.shape)}, initH {list(h.shape)} and initC {list(c.shape)} do not fit one another", TILING)
    if sizes is not None and (sizes.ndim != 1 or not packed and sizes.shape[0] != x.shape[0]):
        reject(f"batchSize {list(sizes.shape)} must have one element for each step", TILING)
    size = h.shape[2]
    for suffix in ("", "Reverse")[:ways]:
        wanted: dict[str, tuple[int, ...]] = {f"wIh{suffix}": (4 * size, x.shape[-1]),
                                              f"wHh{suffix}": (4 * size, size)}
        if given["isbias"]:
            wanted.update({f"bIh{suffix}": (4 * size,), f"bHh{suffix}": (4 * size,)})
        for name, shape in wanted.items():
            found = given.get(name, given.get(f"{name}Optional"))
            if found is None or tuple(found.shape) != shape:
                reject(f"{name} must have the shape {list(shape)}", TILING)
    return (*x.shape[:-1], ways * size), tuple(h.shape), tuple(h.shape)


by_name("LstmBackward", network_back(lstm_back, "i g f o h c tanhc", "hc"), network_shape(4, "i g f o h c tanhc"),
        optional="outputMask", workspace=8192, oracle="torch, backward", deviations="no packed sequences")
by_name("GRUBackward", network_back(gru_back, "r z n hn h", "h"), network_shape(3, "r z n hn h"),
        optional="batchSizes", workspace=8192, oracle="torch, backward", deviations="no packed sequences",
        dtypes=dict.fromkeys(("dh", "hn"), _HALF))
define("ThnnFusedLstmCell", lstm_cell, shape=lstm_cell_shape, oracle="torch.nn.LSTMCell")
define("ThnnFusedLstmCellBackward", lstm_cell_back, shape=lstm_cell_back_shape, optional="gradBiasOut",
       oracle="torch, backward")
by_name("BidirectionLSTM BidirectionLSTMV2", lstm_both, lstm_both_shape, workspace=8192, rehearsed=False,
       oracle="torch.lstm",
        dtypes={"batchSizeOptional": "s32"})
