"""One step of torch.optim on float32 copies, after setting the state that the operator is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import F32

from ..oracle import Draw, Oracle, torch

LR, BETA1, BETA2, DECAY, EPSILON = 0.03, 0.8, 0.9, 0.1, 1e-3


def step_of(kind: Any, var: Any, grad: Any, step: int, m: Any, v: Any, top: Any = None, **options: Any) -> Any:
    """(var, m, v, top) after one step number `step` of an Adam optimiser."""
    p = torch.nn.Parameter(var.clone())
    optimizer = kind([p], lr=LR, betas=(BETA1, BETA2), eps=EPSILON, amsgrad=top is not None, **options)
    state = optimizer.state[p]
    state.update(step=torch.tensor(float(step - 1)), exp_avg=m.clone(), exp_avg_sq=v.clone())
    if top is not None:
        state["max_exp_avg_sq"] = top.clone()
    p.grad = grad.clone()
    optimizer.step()
    return p.detach(), state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq")


def state(d: Draw) -> list[Any]:
    """var, m, v (not negative), grad"""
    shape = d.shape(1, 3)
    return [d.array(shape, F32), d.array(shape, F32, -1, 1), d.array(shape, F32, 0, 1), d.array(shape, F32)]


def one(value: float) -> Any:
    return np.full(1, value, np.float32)


def draw_adam(d: Draw) -> list[Any]:
    var, m, v, grad = state(d)
    return [var, m, v, *map(one, (BETA1 ** 3, BETA2 ** 3, LR, BETA1, BETA2, EPSILON)), grad, False, False]


def adam(var: Any, m: Any, v: Any, *rest: Any) -> Any:
    # epsilon is added before the correction of the second moment here, after it in torch: rescaled to compare
    corrected = EPSILON / (1 - BETA2 ** 3) ** 0.5
    p = torch.nn.Parameter(var.clone())
    optimizer = torch.optim.Adam([p], lr=LR, betas=(BETA1, BETA2), eps=corrected)
    optimizer.state[p].update(step=torch.tensor(2.0), exp_avg=m.clone(), exp_avg_sq=v.clone())
    p.grad = rest[6].clone()
    optimizer.step()
    return p.detach(), optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]


def draw_adam_w(d: Draw) -> list[Any]:
    var, m, v, grad = state(d)
    amsgrad = d.flag()
    return [var, m, v, *map(one, (BETA1 ** 2, BETA2 ** 2, LR, DECAY, BETA1, BETA2, EPSILON)), grad,
            d.array(var.shape, F32, 0, 1) if amsgrad else None, amsgrad, d.flag()]


def adam_w(var: Any, m: Any, v: Any, *rest: Any) -> Any:
    return step_of(torch.optim.AdamW, var, rest[7], 3, m, v, rest[8], weight_decay=DECAY, maximize=rest[10])[:3]


def draw_adam_w_v2(d: Draw) -> list[Any]:
    var, m, v, grad = state(d)
    amsgrad = d.flag()
    return [var, m, v, d.array(var.shape, F32, 0, 1) if amsgrad else None, grad, one(d.integer(1, 9)), LR, BETA1, BETA2,
            DECAY, EPSILON, amsgrad, d.flag()]


def adam_w_v2(var: Any, m: Any, v: Any, top: Any, grad: Any, step: Any, *rest: Any) -> Any:
    return step_of(torch.optim.AdamW, var, grad, int(step), m, v, top, weight_decay=DECAY, maximize=rest[6])


def draw_ema(d: Draw) -> list[Any]:
    var, m, v, grad = state(d)
    step = np.full(1, d.integer(1, 9), np.int64)
    s = d.array(var.shape, F32)
    return [grad, var, m, v, s, step, LR, 0.7, BETA1, BETA2, EPSILON, d.integer(0, 1), True, DECAY]


def ema(grad: Any, var: Any, m: Any, v: Any, s: Any, step: Any, *rest: Any) -> Any:
    kind = torch.optim.AdamW if rest[5] == 1 else torch.optim.Adam
    var, m, v, _ = step_of(kind, var, grad, int(step), m, v, weight_decay=DECAY)
    return var, m, v, 0.7 * s + 0.3 * var


def draw_lists(d: Draw) -> list[list[Any]]:
    return [list(column) for column in zip(*(state(d) for _ in range(d.integer(1, 3))))]


def draw_fused_adam_w(d: Draw) -> list[Any]:
    var, m, v, grad = draw_lists(d)
    steps = [one(d.integer(1, 9)) for _ in var]
    return [var, grad, m, v, [np.zeros_like(x) for x in v], steps, None, None, LR, BETA1, BETA2, DECAY, EPSILON, False,
            d.flag()]


def fused_adam_w(params: Any, grads: Any, ms: Any, vs: Any, tops: Any, steps: Any, *rest: Any) -> Any:
    found = [step_of(torch.optim.AdamW, p, g, int(s), m, v, weight_decay=DECAY, maximize=rest[8])
             for p, g, s, m, v in zip(params, grads, steps, ms, vs)]
    return *([f[i] for f in found] for i in range(3)), tops


def draw_sgd(d: Draw) -> list[Any]:
    var, m, _, grad = draw_lists(d)
    return [var, grad, m, None, DECAY, 0.7, LR, 0.2, d.flag(), d.flag(), d.flag()]


def sgd(params: Any, grads: Any, momenta: Any, scale: Any, decay: float, momentum: float, lr: float, dampening: float,
        nesterov: bool, maximize: bool, first: bool) -> Any:
    found = []
    for p, g, b in zip(params, grads, momenta):
        leaf = torch.nn.Parameter(p.clone())
        # torch allows no dampening beside nesterov: there the buffer is computed first and then applied by hand
        optimizer = torch.optim.SGD([leaf], lr=lr, momentum=momentum, weight_decay=decay, dampening=dampening,
                                    maximize=maximize)
        if not first:
            optimizer.state[leaf]["momentum_buffer"] = b.clone()
        leaf.grad = g.clone()
        optimizer.step()
        buffer = optimizer.state[leaf]["momentum_buffer"]
        step = (-g if maximize else g) + decay * p
        found.append((p - lr * (step + momentum * buffer) if nesterov else leaf.detach(), g, buffer))
    return tuple([f[i] for f in found] for i in range(3))


def draw_descent(d: Draw) -> list[Any]:
    var, _, _, grad = state(d)
    return [var, one(LR), grad]


def draw_adadelta(d: Draw) -> list[Any]:
    var, _, squares, grad = state(d)
    return [var, squares, d.array(var.shape, F32, 0, 1), *map(np.float32, (LR, BETA2, EPSILON)), grad]


def draw_adamax(d: Draw) -> list[Any]:
    var, m, v, grad = state(d)
    return [var, m, v, *map(np.float32, (BETA1 ** 3, LR, BETA1, BETA2, EPSILON)), grad]


def by_torch(kind: Any, var: Any, grad: Any, **found: Any) -> Any:
    """(var, then the state) after one step of an optimiser that is given its state."""
    names = [n for n in found if n not in ("options", "step")]
    p = torch.nn.Parameter(var.clone())
    optimizer = kind([p], **found["options"])
    optimizer.state[p].update({n: found[n].clone() for n in names}, step=torch.tensor(found["step"]))
    p.grad = grad.clone()
    optimizer.step()
    return (p.detach(), *(optimizer.state[p][n] for n in names))


def adadelta(var: Any, squares: Any, updates: Any, lr: Any, rho: Any, epsilon: Any, grad: Any) -> Any:
    return by_torch(torch.optim.Adadelta, var, grad, square_avg=squares, acc_delta=updates, step=0.0,
                    options={"lr": lr, "rho": rho, "eps": epsilon})


def adamax(var: Any, m: Any, v: Any, power: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, grad: Any) -> Any:
    """torch adds epsilon to the gradient, so the parameter is compared with the formula."""
    _, m, v = by_torch(torch.optim.Adamax, var, grad, exp_avg=m, exp_inf=v, step=2.0,
                       options={"lr": lr, "betas": (beta1, beta2), "eps": 0.0})
    return torch.addcdiv(var, m, v + epsilon, value=-lr / (1 - power)), m, v


def draw_ftrl(d: Draw) -> list[Any]:
    var, linear, squares, grad = state(d)
    return [var, squares, linear, grad, *map(one, (LR, 0.4, 0.1, d.choice([-0.5, -0.7]))), False]


def ftrl(var: Any, squares: Any, linear: Any, grad: Any, *rest: Any) -> Any:
    lr, l1, l2, power = (float(v) for v in rest[:4])
    found = []
    for w, n, z, g in zip(*(t.reshape(-1).double().tolist() for t in (var, squares, linear, grad))):
        new = n + g * g
        z = z + g - (new ** -power - n ** -power) / lr * w
        w = (np.sign(z) * l1 - z) / (new ** -power / lr + 2 * l2) if abs(z) > l1 else 0.0
        found.append((w, new, z))
    return tuple(torch.tensor(v).reshape(var.shape) for v in zip(*found))


ORACLES = {
    "ApplyAdadelta": Oracle(adadelta, draw_adadelta, rtol=1e-4, atol=1e-5),
    "ApplyAdamax": Oracle(adamax, draw_adamax, rtol=1e-4, atol=1e-5),
    "ApplyFtrl": Oracle(ftrl, draw_ftrl, rtol=1e-4, atol=1e-4),
    "ApplyAdam": Oracle(adam, draw_adam, rtol=1e-4, atol=1e-5),
    "ApplyAdamD": Oracle(adam, draw_adam, rtol=1e-4, atol=1e-5),
    "ApplyAdamW": Oracle(adam_w, draw_adam_w, rtol=1e-4, atol=1e-5),
    "ApplyAdamWV2": Oracle(adam_w_v2, draw_adam_w_v2, rtol=1e-4, atol=1e-5),
    "ApplyFusedEmaAdam": Oracle(ema, draw_ema, rtol=1e-4, atol=1e-5),
    "ApplyGradientDescent": Oracle(lambda var, alpha, delta: var - alpha * delta, draw_descent),
    "FusedAdamw": Oracle(fused_adam_w, draw_fused_adam_w, rtol=1e-4, atol=1e-5),
    "FusedSgd": Oracle(sgd, draw_sgd, rtol=1e-4, atol=1e-5),
}
