"""Optimisers: one step on a parameter and its state, in place, computed in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import define


def number(x: Any) -> Any:
    """The value of a tensor of one element, or of a scalar, as float32."""
    return np.float32(x.reshape(-1)[0] if isinstance(x, np.ndarray) else x)


def bias(beta: float, step: Any) -> Any:
    """What a moment is divided by at this step: 1 - beta ^ step."""
    return np.float32(1 - beta ** float(step.reshape(-1)[0]))


def moments(m: Any, v: Any, grad: Any, beta1: Any, beta2: Any) -> tuple[Any, Any]:
    one = np.float32(1)
    return beta1 * m + (one - beta1) * grad, beta2 * v + (one - beta2) * grad * grad


def adam(var: Any, m: Any, v: Any, power1: Any, power2: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, grad: Any,
         locking: bool, nesterov: bool) -> Any:
    power1, power2, lr, beta1, beta2, epsilon = map(number, (power1, power2, lr, beta1, beta2, epsilon))
    m, v = moments(m, v, grad, beta1, beta2)
    direction = beta1 * m + (1 - beta1) * grad if nesterov else m
    rate = lr * np.sqrt(1 - power2) / (1 - power1)
    return var - rate * direction / (np.sqrt(v) + epsilon), m, v


def adam_w_step(var: Any, m: Any, v: Any, top: Any, grad: Any, bias1: Any, bias2: Any, lr: Any, beta1: Any, beta2: Any,
                decay: Any, epsilon: Any, maximize: bool, corrected_top: bool) -> tuple[Any, Any, Any, Any]:
    """One AdamW step; `top` (None without amsgrad) holds the largest second moments, corrected or as they are."""
    if maximize:
        grad = -grad
    m, v = moments(m, v, grad, beta1, beta2)
    second = v / bias2
    if top is not None:
        top = np.maximum(top, second if corrected_top else v)
        second = top if corrected_top else top / bias2
    var = var - lr * decay * var - lr * (m / bias1) / (np.sqrt(second) + epsilon)
    return var, m, v, top


def adam_w(var: Any, m: Any, v: Any, power1: Any, power2: Any, lr: Any, decay: Any, beta1: Any, beta2: Any,
           epsilon: Any, grad: Any, top: Any, amsgrad: bool, maximize: bool) -> Any:
    power1, power2, lr, decay, beta1, beta2, epsilon = map(number, (power1, power2, lr, decay, beta1, beta2, epsilon))
    return adam_w_step(var, m, v, top if amsgrad else None, grad, 1 - power1 * beta1, 1 - power2 * beta2, lr, beta1,
                       beta2, decay, epsilon, maximize, False)[:3]


def adam_w_v2(var: Any, m: Any, v: Any, top: Any, grad: Any, step: Any, lr: float, beta1: float, beta2: float,
              decay: float, epsilon: float, amsgrad: bool, maximize: bool) -> Any:
    return adam_w_step(var, m, v, top if amsgrad else None, grad, bias(beta1, step), bias(beta2, step), np.float32(lr),
                       np.float32(beta1), np.float32(beta2), np.float32(decay), np.float32(epsilon), maximize, False)


def ema_adam(grad: Any, var: Any, m: Any, v: Any, s: Any, step: Any, lr: float, ema: float, beta1: float, beta2: float,
             epsilon: float, mode: int, correct: bool, decay: float) -> Any:
    bias1, bias2 = (bias(b, step) if correct else np.float32(1) for b in (beta1, beta2))
    if mode == 0:
        grad = grad + np.float32(decay) * var
    m, v = moments(m, v, grad, np.float32(beta1), np.float32(beta2))
    update = (m / bias1) / (np.sqrt(v / bias2) + np.float32(epsilon))
    if mode == 1:
        update = update + np.float32(decay) * var
    var = var - np.float32(lr) * update
    return var, m, v, np.float32(ema) * s + np.float32(1 - ema) * var


def gradient_descent(var: Any, alpha: Any, delta: Any) -> Any:
    return var - number(alpha) * delta


def fused_adam_w(params: Any, grads: Any, ms: Any, vs: Any, tops: Any, steps: Any, scale: Any, found_inf: Any,
                 lr: float, beta1: float, beta2: float, decay: float, epsilon: float, amsgrad: bool,
                 maximize: bool) -> Any:
    if found_inf is not None and number(found_inf):
        return None, None, None, None
    columns: tuple[list[Any], ...] = ([], [], [], [])
    for i, var in enumerate(params):
        grad = grads[i] if scale is None else grads[i] / number(scale)
        found = adam_w_step(var, ms[i], vs[i], tops[i] if amsgrad else None, grad, bias(beta1, steps[i]),
                            bias(beta2, steps[i]), np.float32(lr), np.float32(beta1), np.float32(beta2),
                            np.float32(decay), np.float32(epsilon), maximize, True)
        for column, value in zip(columns, found):
            column.append(value)
    return [value for column in (columns if amsgrad else (*columns[:3], [None] * len(tops))) for value in column]


def fused_sgd(params: Any, grads: Any, momenta: Any, scale: Any, decay: float, momentum: float, lr: float,
              dampening: float, nesterov: bool, maximize: bool, first: bool) -> Any:
    columns: tuple[list[Any], ...] = ([], [], [])
    for i, var in enumerate(params):
        grad = grads[i] if scale is None else grads[i] / number(scale)
        step = (-grad if maximize else grad) + np.float32(decay) * var
        buffer = None
        if momenta:
            buffer = step if first else np.float32(momentum) * momenta[i] + np.float32(1 - dampening) * step
            step = step + np.float32(momentum) * buffer if nesterov else buffer
        for column, value in zip(columns, (var - np.float32(lr) * step, grad, buffer)):
            column.append(value)
    return [value for column in (columns if momenta else columns[:2]) for value in column]


define("ApplyAdam", adam, roles={"m": "io", "v": "io"}, oracle="torch.optim.Adam")
define("ApplyAdamD", adam, oracle="torch.optim.Adam")
define("ApplyAdamW", adam_w, oracle="torch.optim.AdamW")
define("ApplyAdamWV2", adam_w_v2, oracle="torch.optim.AdamW")
define("ApplyFusedEmaAdam", ema_adam, oracle="torch.optim.Adam and an average")
define("ApplyGradientDescent", gradient_descent, roles={"var": "io"}, oracle="torch.optim.SGD")
define("FusedAdamw", fused_adam_w, optional="maxExpAvgSqsRef", oracle="torch.optim.AdamW",
       deviations="stateSteps is read as the number of this step")
define("FusedSgd", fused_sgd, oracle="torch.optim.SGD")
