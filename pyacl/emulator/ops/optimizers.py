"""Optimisers: one step on a parameter and its state, in place, computed in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import define
from .rules import reject


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


def adadelta(var: Any, squares: Any, updates: Any, lr: Any, rho: Any, epsilon: Any, grad: Any) -> Any:
    lr, rho, epsilon = map(number, (lr, rho, epsilon))
    squares = rho * squares + (1 - rho) * grad * grad
    step = np.sqrt(updates + epsilon) / np.sqrt(squares + epsilon) * grad
    return var - lr * step, squares, rho * updates + (1 - rho) * step * step


def adadelta_shape(var: Any, squares: Any, updates: Any, lr: Any, rho: Any, epsilon: Any, grad: Any) -> Any:
    if not (lr >= 0 and epsilon > 0 and 0 <= rho < 1):
        reject(f"lr {lr} must not be below 0, epsilon {epsilon} be above it, rho {rho} lie in [0, 1)")
    if any(s.dtype != var.dtype for s in (lr, rho, epsilon)):
        reject("lr, rho and epsilon must be of var's type")
    return states(var, squares, updates, grad)


def adamax(var: Any, m: Any, v: Any, power: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, grad: Any) -> Any:
    power, lr, beta1, beta2, epsilon = map(number, (power, lr, beta1, beta2, epsilon))
    m, v = beta1 * m + (1 - beta1) * grad, np.maximum(beta2 * v, np.abs(grad))
    return var - lr / (1 - power) * m / (v + epsilon), m, v


def adamax_shape(var: Any, m: Any, v: Any, power: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, grad: Any) -> Any:
    if not (epsilon >= 0 and 0 <= power < 1):
        reject(f"epsilon {epsilon} must not be below 0, beta1Power {power} lie in [0, 1)")
    return states(var, m, v, grad)


def ftrl(var: Any, squares: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, power: Any, locking: bool) -> Any:
    lr, l1, l2, power = map(number, (lr, l1, l2, power))
    old, squares = squares**-power, squares + grad * grad
    new = squares**-power
    linear = linear + grad - (new - old) / lr * var
    var = (np.sign(linear) * l1 - linear) / (new / lr + 2 * l2)
    return np.where(np.abs(linear) > l1, var, 0), squares, linear


def ftrl_check(var: Any, squares: Any, linear: Any, grad: Any, *rest: Any) -> None:
    states(var, squares, linear, grad, least=0)
    if any(t.ndim > 1 or t.size != 1 or t.dtype != var.dtype for t in rest[:4]) or rest[4]:
        reject("lr, l1, l2 and lrPower must have one element of var's type, useLocking must be false")


def states(var: Any, *others: Any, least: int = 1) -> Any:
    """The shapes of three outputs; refuses tensors that are not like var."""
    if var.ndim < least or any(t.shape != var.shape or t.dtype != var.dtype for t in others):
        reject(f"var {list(var.shape)} must have {least} dimensions or more, and its state and grad its shape and type")
    return (tuple(var.shape),) * 3


define("ApplyAdadelta", adadelta, shape=adadelta_shape, result=lambda var, *_: (var.dtype,) * 3, exact=True,
       oracle="torch.optim.Adadelta", dtypes=dict.fromkeys(
           "var accum accumUpdate grad varOut accumOut accumUpdateOut".split(), "f32 f16"))
define("ApplyAdamax", adamax, shape=adamax_shape, result=lambda var, *_: (var.dtype,) * 3, exact=True,
       oracle="torch.optim.Adamax", dtypes=dict.fromkeys("var m v grad varOut mOut vOut".split(), "f32 f16"))
define("ApplyFtrl", ftrl, check=ftrl_check, oracle="element by element")
define("ApplyAdam", adam, roles={"m": "io", "v": "io"}, oracle="torch.optim.Adam")
define("ApplyAdamD", adam, oracle="torch.optim.Adam")
define("ApplyAdamW", adam_w, oracle="torch.optim.AdamW")
define("ApplyAdamWV2", adam_w_v2, oracle="torch.optim.AdamW")
define("ApplyFusedEmaAdam", ema_adam, oracle="torch.optim.Adam and an average")
define("ApplyGradientDescent", gradient_descent, roles={"var": "io"}, oracle="torch.optim.SGD")
define("FusedAdamw", fused_adam_w, optional="maxExpAvgSqsRef", oracle="torch.optim.AdamW",
       deviations="stateSteps is read as the number of this step")
define("FusedSgd", fused_sgd, oracle="torch.optim.SGD")
