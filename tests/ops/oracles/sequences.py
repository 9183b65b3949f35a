"""Recurrent networks and connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional


def recurrent_inputs(d: Draw) -> list[Any]:
    gates = 3 if "GRU" in d.name else 4
    time, batch, width, size = (d.integer(1, 4) for _ in range(4))
    bias, layers, both, first = d.flag(), d.integer(1, 2), d.flag(), d.flag()
    ways, dtype = 2 if both else 1, d.choice([np.float32, np.float32, np.float16])
    params = []
    for i in range(layers * ways):
        columns = width if i < ways else size * ways
        shapes = [(gates * size, columns), (gates * size, size), *([(gates * size,)] * 2 if bias else [])]
        params += [d.array(s, dtype, -1, 1) for s in shapes]
    states = [d.array((layers * ways, batch, size), dtype, -1, 1) for _ in range(gates - 2)]
    start: Any = None if d.flag() else states[0] if gates == 3 else states
    x = d.array((batch, time, width) if first else (time, batch, width), dtype, -2, 2)
    return [x, params, start, None, bias, layers, 0.0, d.flag(), both, first]


def steps(cell: Any, x: Any, params: Any, start: Any, bias: bool, layers: int, both: bool) -> Any:
    """What a layer keeps of each step, one list for each kind, by the cell's own formula."""
    ways, each, found = 2 if both else 1, 4 if bias else 2, []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            i = layer * ways + way
            w = [*params[i * each:(i + 1) * each], *([None, None] if not bias else [])]
            state, kept = tuple(s[i] for s in start), []
            for t in reversed(range(len(x))) if way else range(len(x)):
                state, values = cell(x[t], state, *w)
                kept.append(values)
            stacked = [torch.stack(v[::-1] if way else v) for v in zip(*kept)]
            found.append(stacked)
            outputs.append(stacked[4])
        x = torch.cat(outputs, -1)
    return [list(v) for v in zip(*found)]


def gru_cell(x: Any, state: Any, w: Any, u: Any, b: Any, c: Any) -> Any:
    (h,) = state
    ir, iz, i_n = functional.linear(x, w, b).chunk(3, 1)
    hr, hz, hn = functional.linear(h, u, c).chunk(3, 1)
    r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
    n = torch.tanh(i_n + r * hn)
    h = n + z * (h - n)
    return (h,), (r, z, n, hn, h)


def lstm_cell(x: Any, state: Any, w: Any, u: Any, b: Any, c: Any) -> Any:
    h, cell = state
    i, f, j, o = (functional.linear(x, w, b) + functional.linear(h, u, c)).chunk(4, 1)
    i, f, j, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(j), torch.sigmoid(o)
    cell = f * cell + i * j
    h = o * torch.tanh(cell)
    return (h, cell), (i, j, f, o, h, cell, torch.tanh(cell))


def recurrent(states: int, call: Any, cell: Any, kept: int) -> Any:
    def oracle(x: Any, params: Any, start: Any, batches: Any, bias: bool, layers: int, dropout: float, train: bool,
               both: bool, first: bool) -> Any:
        zeros = torch.zeros((layers * (2 if both else 1), x.shape[0 if first else 1], params[1].shape[1]))
        given = [zeros] * states if start is None else start if isinstance(start, list) else [start]
        found = call(x.contiguous(), given if states == 2 else given[0], params, bias, layers, 0.0, train, both, first)
        if not train:
            return (*found, *(None,) * kept)
        return (*found, *steps(cell, x.transpose(0, 1) if first else x, params, given, bias, layers, both))

    return oracle


def ctc_inputs(d: Draw) -> list[Any]:
    time, n, classes, blank = d.integer(4, 7), d.integer(1, 3), d.integer(2, 5), 0
    lengths = tuple(d.integer(1, 3) for _ in range(n))
    inputs = tuple(d.integer(3, time) for _ in range(n))
    log = torch.log_softmax(torch.from_numpy(d.array((time, n, classes), np.float32)), -1).numpy()
    targets = d.array((sum(lengths),) if d.flag() else (n, max(lengths)), np.int64, 1, classes - 1)
    found = [log, targets, inputs, lengths, blank]
    if "Backward" not in d.name:
        return [*found, True]
    loss, alpha = torch._ctc_loss(torch.from_numpy(log), torch.from_numpy(targets), list(inputs), list(lengths), blank)
    return [d.array((n,), np.float32), *found[:4], loss.numpy(), alpha.numpy(), blank, True]


def ctc(log: Any, targets: Any, inputs: Any, lengths: Any, blank: int, zero: bool) -> Any:
    return functional.ctc_loss(log, targets, list(inputs), list(lengths), blank, "none", zero), \
        torch.zeros((log.shape[1], log.shape[0], 2 * max(lengths) + 1 + sum(lengths) % 3))


def same_likelihood(values: list[Any], results: list[Any]) -> None:
    """The losses are PyTorch's, and at each sequence's last step alpha adds up to them."""
    log, targets, inputs, lengths, blank, zero = values
    wanted = ctc(torch.from_numpy(log), torch.from_numpy(targets), inputs, lengths, blank, zero)[0].numpy()
    np.testing.assert_allclose(results[0], wanted, rtol=1e-4, atol=1e-4)
    for i, (time, size) in enumerate(zip(inputs, lengths)):
        total = np.logaddexp.reduce(results[1][i, time - 1, 2 * size - 1:2 * size + 1])
        np.testing.assert_allclose(-total if np.isfinite(total) else 0, wanted[i], rtol=1e-4, atol=1e-4)


def ctc_back(dy: Any, log: Any, targets: Any, inputs: Any, lengths: Any, loss: Any, alpha: Any, blank: int,
             zero: bool) -> Any:
    return torch.ops.aten._ctc_loss_backward(dy, log, targets, list(inputs), list(lengths), loss, alpha, blank, zero)


ORACLES = {
    "GRU": Oracle(recurrent(1, torch._VF.gru, gru_cell, 5), recurrent_inputs, atol=1e-5, cases=8),
    "LSTM": Oracle(recurrent(2, torch._VF.lstm, lstm_cell, 7), recurrent_inputs, atol=1e-5, cases=8),
    "CtcLoss": Oracle(ctc, ctc_inputs, accept=same_likelihood, cases=8),
    "CtcLossBackward": Oracle(ctc_back, ctc_inputs, atol=1e-4, rtol=1e-3, cases=8),
}
