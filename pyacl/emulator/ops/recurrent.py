"""Recurrent networks: a matmul for all steps' inputs at once, then step by step."""

from __future__ import annotations

from typing import Any, Callable, Iterator

import numpy as np

from .registry import define
from .rules import reject
from .unary import sigmoid

_HALF = "f32 f16"


def gru_run(gates: Any, weight: Any, bias: Any, start: Any) -> tuple[list[Any], list[Any]]:
    """((r, z, n, hidden part of n, h) of all steps, (last h,)) from the inputs' part of the gates."""
    size, h = weight.shape[1], start[0]
    kept: tuple[list[Any], ...] = ([], [], [], [], [])
    for x in gates:
        hidden = h @ weight.T + bias
        both = sigmoid(x[:, :2 * size] + hidden[:, :2 * size])
        r, z, part = both[:, :size], both[:, size:], hidden[:, 2 * size:]
        n = np.tanh(x[:, 2 * size:] + r * part)
        h = (1 - z) * n + z * h
        for steps, value in zip(kept, (r, z, n, part, h)):
            steps.append(value)
    return [np.stack(s) for s in kept], [h]


def lstm_run(gates: Any, weight: Any, bias: Any, start: Any) -> tuple[list[Any], list[Any]]:
    """((i, j, f, o, h, c, tanh c) of all steps, (last h, last c)); the weights' rows are in the order i, f, j, o."""
    h, c = start
    kept: tuple[list[Any], ...] = ([], [], [], [], [], [], [])
    for x in gates:
        i, f, j, o = np.split(x + h @ weight.T + bias, 4, axis=1)
        i, f, j, o = sigmoid(i), sigmoid(f), np.tanh(j), sigmoid(o)
        c = f * c + i * j
        t = np.tanh(c)
        h = o * t
        for steps, value in zip(kept, (i, j, f, o, h, c, t)):
            steps.append(value)
    return [np.stack(s) for s in kept], [h, c]


def parts(params: Any, bias: bool, layers: int, both: bool) -> Iterator[Any]:
    """(weight of inputs, of hidden states, sum of biases kept apart) for each layer and direction."""
    step = 4 if bias else 2
    for i in range(layers * (2 if both else 1)):
        chosen = params[i * step:(i + 1) * step]
        yield (*chosen, *(() if bias else (np.float32(0), np.float32(0))))


def network(run: Callable[..., Any], hidden: int, states: int) -> Callable[..., Any]:
    """Layers and directions around `run`, whose kept value number `hidden` is the layer's output."""
    def compute(x: Any, params: Any, start: Any, batches: Any, bias: bool, layers: int, dropout: float, train: bool,
                both: bool, batch_first: bool) -> Any:
        start = start if isinstance(start, list) else [start]
        layer = x.transpose(1, 0, 2) if batch_first else x
        weights = list(parts(params, bias, layers, both))
        found, last = [], []
        for at in range(layers):
            outputs = []
            for way in range(2 if both else 1):
                i = at * (2 if both else 1) + way
                w_in, w_hidden, b_in, b_hidden = weights[i]
                zero = np.zeros((layer.shape[1], w_hidden.shape[1]), np.float32)
                given = [zero] * states if not start or start[0] is None else [s[i] for s in start]
                gates = layer[::-1 if way else 1] @ w_in.T + b_in
                kept, final = run(gates, w_hidden, b_hidden, given)
                kept = [k[::-1] for k in kept] if way else kept
                found.append(kept)
                last.append(final)
                outputs.append(kept[hidden])
            layer = np.concatenate(outputs, -1)
        result = layer.transpose(1, 0, 2) if batch_first else layer
        ends = [np.stack(s) for s in zip(*last)]
        return (result, *ends, *(k for kind in zip(*found) for k in kind)) if train else (result, *ends)

    return compute


def shapes(gates: int, states: int, kept: int) -> Callable[..., Any]:
    def shape(x: Any, params: Any, start: Any, batches: Any, bias: bool, layers: int, dropout: float, train: bool,
              both: bool, batch_first: bool) -> Any:
        ways = 2 if both else 1
        if batches is not None:
            reject("batchSizes is not NULL: packed sequences are not emulated")
        if x.ndim != 3 or layers < 1 or len(params) != 2 * (2 if bias else 1) * ways * layers:
            reject(f"input {list(x.shape)} must have 3 dimensions, and params {len(params)} tensors as hasBias, "
                   f"numLayers {layers} and the directions say")
        time, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
        size, step = params[1].shape[-1], 4 if bias else 2
        for i in range(layers * ways):
            width = x.shape[2] if i < ways else size * ways
            wanted = ((gates * size, width), (gates * size, size), (gates * size,), (gates * size,))[:step]
            for t, s in zip(params[i * step:], wanted):
                if tuple(t.shape) != s:
                    reject(f"a tensor of params has the shape {list(t.shape)}; it must have {list(s)}")
        end = (layers * ways, batch, size)
        for t in start if isinstance(start, (list, tuple)) else [start]:
            if t is not None and tuple(t.shape) != end:
                reject(f"hx of shape {list(t.shape)} must have {list(end)}")
        lead = (batch, time) if batch_first else (time, batch)
        gated = ((time, batch, size),) * (kept * layers * ways) if train else ()
        return ((*lead, size * ways), *(end,) * states, *gated)

    return shape


define("GRU", network(gru_run, 4, 1), shape=shapes(3, 1, 5), workspace=8192, oracle="torch.gru",
       optional="hx batchSizes rOut zOut nOut hnOut hOut", deviations="no packed sequences",
       dtypes=dict.fromkeys(("params", "hx", "output", "hy", "rOut", "zOut", "nOut", "hnOut", "hOut"), _HALF))
define("LSTM", network(lstm_run, 4, 2), shape=shapes(4, 2, 7), workspace=8192, oracle="torch.lstm",
       optional="hx batchSizes iOut jOut fOut oOut hOut cOut tanhCOut", deviations="no packed sequences")
