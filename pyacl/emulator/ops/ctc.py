"""Connectionist temporal classification: forward variables of all sequences at once, one step of time at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .rules import reject

_FLOATS = "f32 f16 bf16 f64"


def labels(targets: Any, lengths: Any, blank: int) -> Any:
    """(N, 2 longest + 1): blanks around and between the labels."""
    flat, n, longest = targets.ndim == 1, len(lengths), max(lengths, default=0)
    sizes = np.asarray(lengths, np.int64)
    column = np.arange(longest)
    inside = column < sizes[:, None]
    extended = np.full((n, 2 * longest + 1), blank, np.int64)
    if flat:
        first = np.cumsum(sizes) - sizes
        where = np.where(inside, first[:, None] + column, 0)
        values = targets.astype(np.int64)[where] if targets.size else np.zeros(where.shape, np.int64)
    else:
        values = targets[:, :longest].astype(np.int64)
    extended[:, 1::2] = np.where(inside, values, blank)
    return extended


def forward(emitted: Any, extended: Any, blank: int) -> Any:
    """Logarithms of the forward variables (N, T, S) from what each label emits at each step."""
    skip = np.zeros(extended.shape, bool)
    skip[:, 2:] = (extended[:, 2:] != blank) & (extended[:, 2:] != extended[:, :-2])
    alpha = np.full(emitted.shape, -np.inf, emitted.dtype)
    alpha[:, 0, :2] = emitted[:, 0, :2]
    for t in range(1, emitted.shape[1]):
        before = alpha[:, t - 1]
        total = before.copy()
        total[:, 1:] = np.logaddexp(total[:, 1:], before[:, :-1])
        total[:, 2:] = np.where(skip[:, 2:], np.logaddexp(total[:, 2:], before[:, :-2]), total[:, 2:])
        alpha[:, t] = total + emitted[:, t]
    return alpha


def likelihood(alpha: Any, steps: Any, lengths: Any) -> Any:
    rows = np.arange(len(alpha))
    end = alpha[rows, np.asarray(steps) - 1]
    last = 2 * np.asarray(lengths)
    return -np.where(last > 0, np.logaddexp(end[rows, last], end[rows, np.maximum(last - 1, 0)]), end[rows, last])


def batched(log: Any, targets: Any) -> tuple[Any, Any]:
    return (log, targets) if log.ndim == 3 else (log[:, None], targets.reshape(1, -1))


def ctc(log: Any, targets: Any, steps: Any, lengths: Any, blank: int, zero: bool, outs: Any = ()) -> Any:
    """(losses, alpha); the tensor for alpha may be wider than the longest target needs."""
    batch, targets = batched(log, targets)
    extended = labels(targets, lengths, blank)
    alpha = forward(np.take_along_axis(batch.transpose(1, 0, 2), extended[:, None, :], 2), extended, blank)
    loss = likelihood(alpha, steps, lengths)
    if zero:
        loss = np.where(np.isinf(loss), 0, loss)
    if outs and outs[1] is not None:
        room = max(outs[1].shape[2] - alpha.shape[2], 0)
        alpha = np.pad(alpha, ((0, 0), (0, 0), (0, room)), constant_values=-np.inf)
    return loss if log.ndim == 3 else loss[0], alpha


def ctc_backward(dy: Any, log: Any, targets: Any, steps: Any, lengths: Any, loss: Any, alpha: Any, blank: int,
                 zero: bool) -> Any:
    batch, targets = batched(log, targets)
    extended = labels(targets, lengths, blank)
    emitted = np.take_along_axis(batch.transpose(1, 0, 2), extended[:, None, :], 2)
    # Backward variables are the forward ones of the sequences turned round.
    n, time, size = emitted.shape
    t_back = np.asarray(steps)[:, None] - 1 - np.arange(time)
    s_back = 2 * np.asarray(lengths)[:, None] - np.arange(size)
    t_in, s_in = (t_back >= 0)[:, :, None], (s_back >= 0)[:, None, :]
    t_at, s_at = np.maximum(t_back, 0)[:, :, None], np.maximum(s_back, 0)[:, None, :]

    def turned(values: Any) -> Any:
        found = np.take_along_axis(np.take_along_axis(values, t_at, 1), s_at, 2)
        return np.where(t_in & s_in, found, -np.inf).astype(values.dtype)

    beta = turned(forward(turned(emitted), np.take_along_axis(extended, s_at[:, 0], 1), blank))
    alpha = alpha[..., :size]
    posterior = np.exp(alpha + beta - emitted + loss.reshape(-1, 1, 1))
    posterior = np.where(np.isfinite(posterior) & t_in & s_in, posterior, 0).astype(emitted.dtype)
    classes = (extended[:, :, None] == np.arange(batch.shape[2])).astype(emitted.dtype)
    found = (np.exp(batch.transpose(1, 0, 2)) - posterior @ classes) * dy.reshape(-1, 1, 1)
    dropped = ~t_in | (np.isinf(loss.reshape(-1, 1, 1)) if zero else False)
    return np.where(dropped, 0, found).astype(emitted.dtype).transpose(1, 0, 2).reshape(log.shape)


def check(log: Any, targets: Any, steps: Any, lengths: Any, blank: int, *_: Any) -> None:
    n = log.shape[1] if log.ndim == 3 else 1
    if log.ndim not in (2, 3) or len(steps) != n or len(lengths) != n or targets.ndim not in (1, 2):
        reject(f"logProbs {list(log.shape)} must be (T, N, C) or (T, C), with N inputLengths and targetLengths")
    if max(steps) > log.shape[0] or min(steps) < 1 or min(lengths) < 0 or not 0 <= blank < log.shape[-1]:
        reject(f"inputLengths {list(steps)} must be in [1, {log.shape[0]}], blank {blank} a class")
    if (max(lengths) > targets.shape[1]) if targets.ndim == 2 else (sum(lengths) != targets.shape[0]):
        reject(f"targetLengths {list(lengths)} do not fit targets {list(targets.shape)}")


define("CtcLoss", ctc, check=check, workspace=4096,
       dtypes=dict.fromkeys(("negLogLikelihoodOut", "logAlphaOut"), _FLOATS),
       shape=lambda log, targets, steps, *_: (tuple(log.shape[1:-1]), (len(steps), log.shape[0], None)),
       result=lambda log, *_: (log.dtype, log.dtype),
       oracle="torch.nn.functional.ctc_loss")
define("CtcLossBackward", ctc_backward, check=lambda dy, log, targets, steps, lengths, loss, alpha, blank, zero: check(
    log, targets, steps, lengths, blank), shape=rules.like(1), result=rules.first, workspace=4096,
    dtypes=dict.fromkeys(("negLogLikelihood", "logAlpha", "out"), _FLOATS),
    oracle="torch.nn.functional.ctc_loss, backward")
