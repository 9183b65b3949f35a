"""aclOpExecutor: what phase one works out, what phase two queues, and the addresses that may change in between."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Optional

import numpy as np

from ...capi import lib
from .. import half
from ..failure import Failure, not_emulated
from ..machine import memory
from ..machine.device import Device
from . import pieces
from . import tensor as views
from .registry import Operator
from .rules import is_tensor
from .signature import CONVERTERS, Parameter, agree, formats, refusal
from .tensor import Tensor
from .types import F16, F32, HALF, Dtype, cast, castable, category, name, wide

MAX_DIMS = 8
_HALF_LOOPS = frozenset(("absolute", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
                         "arcsinh", "arccosh", "arctanh", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p"))
_PRIVATE = frozenset((lib.ACL_FORMAT_NC1HWC0, lib.ACL_FORMAT_FRACTAL_Z, lib.ACL_FORMAT_NC1HWC0_C04,
                      lib.ACL_FORMAT_FRACTAL_NZ, lib.ACL_FORMAT_NDC1HWC0, lib.ACL_FRACTAL_Z_3D))
_LAST = frozenset((lib.ACL_FORMAT_NHWC, lib.ACL_FORMAT_NDHWC))
_INVALID = lib.ACLNN_ERR_PARAM_INVALID
_NULL = lib.ACLNN_ERR_PARAM_NULLPTR


class Plan:
    """What phase one found: checked arguments, the result's types, and one slot for each tensor's address.

    `inputs` and `outputs` hold, for each parameter, a slot number, a tuple of them for a list, or None for NULL;
    an input that is no tensor is there as ``Constant``.
    """

    __slots__ = ("operator", "tensors", "objects", "inputs", "outputs", "results", "meet", "workspace",
                 "situation")

    def __init__(self, operator: Operator, arguments: tuple[Any, ...]) -> None:
        self.operator = operator
        self.tensors: list[Optional[Tensor]] = []  # by slot; None for one that was NULL
        self.objects: list[Optional[Tensor]] = []  # the caller's own
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.results: tuple[Optional[Dtype], ...] = ()
        self.meet: Optional[Dtype] = None
        self.workspace = operator.workspace
        self.situation = ""  # what a refusal would be about, where pages may name a status code for it
        try:
            self._check(arguments)
            if operator.rehearsed and not operator.elementwise:
                self.situation = "shape"
                rehearse(self, arguments)
        except Failure as failure:
            raise Failure(self._code(failure.code), f"{operator.name}: {failure.text}") from None
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            # A rule that finds too few dimensions, a NaN for a count and the like: it only looks at the arguments.
            raise Failure(self._code(_INVALID),
                          f"{operator.name}: the arguments do not fit together: {error}") from None

    def _code(self, code: int) -> int:
        """The status code that the operator's page gives for a refusal, where it is not the usual one."""
        situation = {_NULL: "null", _INVALID: self.situation}.get(code, "")
        return refusal(self.operator.name, situation) or code

    def _slot(self, tensor: Optional[Tensor]) -> int:
        self.objects.append(tensor)
        self.tensors.append(None if tensor is None else tensor.copy())
        return len(self.tensors) - 1

    def _reformat(self, tensor: Tensor) -> int:
        """A slot for what the operator makes of a tensor in its own memory; from now on the tensor says so as well."""
        assert self.operator.reformat is not None
        self.operator.reformat(tensor)
        return self._slot(tensor)

    def _check(self, arguments: tuple[Any, ...]) -> None:
        operator = self.operator
        inputs: list[Any] = []
        outputs: list[Any] = []
        values: dict[str, Any] = {}
        for parameter, raw in zip(operator.signature.parameters, arguments):
            value = values[parameter.name] = CONVERTERS[parameter.kind](raw, parameter.name)
            where: Any
            if value is None and parameter.kind != "dtype":
                if not (parameter.optional or parameter.name in operator.optional):
                    raise Failure(_NULL, f"{parameter.name} is NULL")
                where = self._slot(None) if parameter.kind == "tensor" else () if parameter.kind == "tensors" \
                    else Constant(None)
            elif parameter.kind == "tensor":
                self._check_tensor(parameter, parameter.name, value)
                where = self._slot(value)
            elif parameter.kind == "tensors":
                for i, member in enumerate(value):
                    if member is not None:
                        self._check_tensor(parameter, f"{parameter.name}[{i}]", member)
                    elif not (parameter.optional or f"{parameter.name}[]" in operator.optional):
                        raise Failure(_NULL, f"{parameter.name}[{i}] is NULL")
                where = tuple(self._slot(member) for member in value)
            else:
                if parameter.name == "cubeMathType" and not 0 <= value <= 4:
                    raise Failure(_INVALID, f"cubeMathType is {value}: choose 0 to 4")
                where = Constant(value)
            if "i" in parameter.role:
                inputs.append(value)
                self.inputs.append(where)
            if "o" in parameter.role:
                outputs.append(value)
                if "i" in parameter.role and operator.reformat is not None:
                    where = self._reformat(value)
                self.outputs.append(where)
        if "outputMask" in values:
            written = [p.name for p in operator.signature.outputs if p.role == "o"]
            for asked, output in zip(values["outputMask"] or (), written):
                if asked and values[output] is None:
                    raise Failure(_NULL, f"{output} is NULL, but outputMask asks for it")
        agree("type", operator.name, values)
        self.situation = "shape"
        agree("shape", operator.name, values)
        self.situation = ""
        if operator.check is not None:
            operator.check(*inputs)
        meeting = inputs if operator.promote is None else [inputs[i] for i in operator.promote if i < len(inputs)]
        if operator.meet is not None:
            self.meet = operator.meet(*[v for m in meeting for v in (m if isinstance(m, tuple) else (m,))])
            self._check_meet(operator.signature.inputs, inputs)
            for i, value in enumerate(inputs):
                if isinstance(value, np.generic) and self.meet and not castable(value.dtype, self.meet):
                    raise Failure(_INVALID, f"scalar {operator.signature.inputs[i].name} of type {name(value.dtype)} "
                                            f"cannot be converted to {name(self.meet)}")
        flat = [t for o in outputs for t in (o if isinstance(o, tuple) else (o,))]
        if operator.shape is not None:
            self.situation = "shape"
            self._check_shapes(operator.shape(*inputs), flat)
            self.situation = ""
        if operator.result is operator.meet and operator.meet is not None:
            self.results = (self.meet,) * len(flat)
        elif operator.result is not None:
            found = operator.result(*inputs)
            self.results = found if isinstance(found, tuple) else (found,) * len(flat)
        else:
            self.results = (None,) * len(flat)
        self._check_types(flat)

    def _check_tensor(self, parameter: Parameter, what: str, tensor: Tensor) -> None:
        operator = self.operator
        if tensor.ndim > MAX_DIMS:
            self.situation = "ndim"
            raise Failure(_INVALID, f"{what} has {tensor.ndim} dimensions, more than {MAX_DIMS}")
        if tensor.dtype is None:
            raise Failure(_INVALID, f"{what} has aclDataType {tensor.code}, which is not emulated")
        allowed = operator.allowed(parameter.name)
        if allowed and tensor.dtype not in allowed:
            takes = ", ".join(sorted(name(d) for d in allowed))
            raise Failure(_INVALID, f"{what} has the type {name(tensor.dtype)}; it takes {takes}")
        layouts = formats(operator.name, parameter.name)
        if layouts and tensor.format in _LAST:
            raise not_emulated(f"{operator.name} with channels last")
        if layouts and tensor.format not in layouts:
            raise Failure(_INVALID, f"{what} has the format {tensor.format}; it takes {' or '.join(layouts.values())}")
        if tensor.format in _PRIVATE and not operator.private_formats:
            raise Failure(_INVALID, f"{what} has the private format {tensor.format}, which it does not take")

    def _check_meet(self, parameters: tuple[Parameter, ...], inputs: list[Any]) -> None:
        """The common type is one of those that the tensors may have themselves: no bits of what became a float."""
        for i, (parameter, value) in enumerate(zip(parameters, inputs)):
            if is_tensor(value) and (self.operator.promote is None or i in self.operator.promote):
                allowed = self.operator.allowed(parameter.name)
                if allowed and self.meet is not None and self.meet not in allowed:
                    raise Failure(_INVALID, f"the arguments meet in the type {name(self.meet)}, which {parameter.name} "
                                            "cannot have")

    def _check_shapes(self, shapes: Any, outputs: list[Optional[Tensor]]) -> None:
        if not shapes or not (shapes[0] is None or isinstance(shapes[0], tuple)):
            shapes = (shapes,)
        names = [p.name for p in self.operator.signature.outputs]
        for i, (shape, tensor) in enumerate(zip(shapes, outputs)):
            if tensor is None or shape is None or tensor.shape == shape:
                continue
            if shape == () and tensor.shape == (1,):
                continue
            if None in shape and len(shape) == tensor.ndim and all(n in (None, m) for n, m in zip(shape, tensor.shape)):
                continue
            what = names[i] if i < len(names) else f"output {i}"
            raise Failure(_INVALID, f"{what} has the shape {list(tensor.shape)}; the result has {list(shape)}")

    def _check_types(self, outputs: list[Optional[Tensor]]) -> None:
        names = [p.name for p in self.operator.signature.outputs]
        for i, (result, tensor) in enumerate(zip(self.results, outputs)):
            if tensor is None or result is None or tensor.dtype == result:
                continue
            kept = category(result) < 3 or category(tensor.dtype) == 3 or not refusal(self.operator.name, "real")
            if self.operator.exact or not kept or not castable(result, tensor.dtype):
                what = names[i] if i < len(names) else f"output {i}"
                raise Failure(_INVALID, f"{what} has the type {name(tensor.dtype)}; the result is {name(result)}")


class Constant:
    """An input that is not a tensor."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Run:
    """One plan at one set of addresses: the task that a launch queues.

    The numpy views are made when it first runs and again after memory it used was freed. `device` is the one that it
    runs on, where that is known.
    """

    __slots__ = ("plan", "addresses", "device", "regions", "call")

    def __init__(self, plan: Plan, addresses: list[int], device: Optional[Device] = None) -> None:
        self.plan = plan
        self.addresses = addresses
        self.device = device
        self.regions: tuple[Any, ...] = ()
        self.call: Optional[Callable[[], None]] = None

    def __call__(self) -> None:
        call = self.call
        with np.errstate(all="ignore"):
            if call is None:
                call = self.bind()
            else:
                for region in self.regions:
                    if region.freed:
                        call = self.bind()
                        break
            call()

    def bind(self) -> Callable[[], None]:
        call = self._bind()
        if any(t is not None and t.size >= pieces.LARGE for t in self.plan.tensors):
            call = pieces.large(call)
        self.call = call
        found = (memory.find(a) for a, t in zip(self.addresses, self.plan.tensors) if t is not None and a)
        self.regions = tuple({id(r): r for r in found if r is not None}.values())
        for region in self.regions:
            if self.device is not None and not self.device.reaches(region):
                self.call = None
                raise Failure(views.FAULT, f"{self.plan.operator.name} runs on device {self.device.id}, which has no "
                              f"access to {region!r}: call aclrtDeviceEnablePeerAccess, or copy it over")
        return call

    def _view(self, where: Any) -> Any:
        if isinstance(where, tuple):
            return [self._view(slot) for slot in where]
        if isinstance(where, Constant):
            return where.value
        found = self.plan.tensors[where]
        return None if found is None else self._array(found, where)

    def _array(self, tensor: Tensor, slot: int) -> Any:
        return views.view(tensor, self.addresses[slot], self.plan.operator.name)

    def _bind(self) -> Callable[[], None]:
        plan, operator = self.plan, self.plan.operator
        inputs = [self._view(w) for w in plan.inputs]
        slots = [s for w in plan.outputs for s in (w if isinstance(w, tuple) else (w,))]
        outputs = [self._view(s) for s in slots]
        compute = operator.compute
        if operator.takes_outs:
            outs = tuple(plan.tensors[s] for s in slots)
            inner = compute

            def compute(*args: Any) -> Any:
                return inner(*args, outs=outs)

        listed = len(plan.outputs) == 1 and isinstance(plan.outputs[0], tuple)
        only = outputs[0] if len(outputs) == 1 and not listed else None
        result = plan.results[0] if plan.results else None
        # numpy's own float16 loops of these compute in float32 and round once, as the device, and are the fastest way.
        native = isinstance(compute, np.ufunc) and compute.__name__ in _HALF_LOOPS and plan.meet == F16 and all(
            v.dtype == F16 for v in inputs if isinstance(v, np.ndarray))
        meet = plan.meet if native or plan.meet is None else wide(plan.meet)
        targets = [self._target(i, value, meet) for i, value in enumerate(inputs)]
        # Scalars need converting only once: to the type they meet the tensors in, then to that of computing.
        inputs = [cast(cast(np.asarray(v), plan.meet), t)[()] if isinstance(v, np.generic) and t is not None else v
                  for v, t in zip(inputs, targets)]
        # Where all results have the types of their tensors, the operator may write into these itself.
        ready = all(t is not None and not t.indirect and r is not None and t.dtype == (
            r if operator.raw or native else wide(r)) for t, r in zip((plan.tensors[s] for s in slots), plan.results))
        direct = operator.takes_out and ready and (listed or only is not None)

        def store(results: Any, outputs: list[Any]) -> None:
            if not isinstance(results, (tuple, list)):
                results = (results,)
            elif any(isinstance(r, (tuple, list)) for r in results):  # a list for an output that is one
                results = [r for part in results for r in (part if isinstance(part, (tuple, list)) else (part,))]
            for i, (value, out) in enumerate(zip(results, outputs)):
                if value is not None and out is not None and value is not out:
                    self._store(i, slots[i], value, out)

        convert = [(i, t) for i, (v, t) in enumerate(zip(inputs, targets))
                   if t is not None and (isinstance(v, list) or is_tensor(v) and v.dtype != t)]

        # A result that is narrowed afterwards goes where an input was widened to, which nobody needs any more.
        reuse = (operator.takes_out and not direct and only is not None and result in HALF and not operator.raw
                 and (operator.elementwise or operator.rows is not None))

        def execute(inputs: list[Any], outputs: list[Any]) -> None:
            out = None if not direct else outputs if listed else outputs[0]
            if convert:
                inputs = list(inputs)
                for i, target in convert:
                    inputs[i] = _convert(inputs[i], target)
                    if reuse and inputs[i].shape == outputs[0].shape and inputs[i].dtype == F32:
                        out = inputs[i]
            store(compute(*inputs) if out is None else compute(*inputs, out=out), outputs)

        one_pass = not convert and (direct or operator.rows is not None) and (operator.one_pass
                                                                              or isinstance(compute, np.ufunc))
        cut = None if one_pass else self._cut(inputs, outputs)
        if cut is not None:
            return cut.each(execute)
        if direct and not convert:
            into = outputs if listed else only

            def straight() -> None:
                found = compute(*inputs, out=into)
                if found is not only:
                    store(found, outputs)

            return straight
        return lambda: execute(inputs, outputs)

    def _cut(self, inputs: list[Any], outputs: list[Any]) -> Optional[pieces.Cut]:
        """How to compute piece by piece; None where the operator must, or better should, see everything at once."""
        operator = self.plan.operator
        if not (operator.elementwise or operator.rows) or any(t is not None and t.indirect for t in self.plan.tensors):
            return None
        if operator.rows is None:
            return pieces.elementwise(inputs, outputs)
        return pieces.rows(inputs, outputs, operator.along, operator.rows(*inputs))

    def _target(self, position: int, value: Any, meet: Optional[Dtype]) -> Optional[Dtype]:
        """The type to which an input is converted, None for its own."""
        operator = self.plan.operator
        if operator.raw or isinstance(value, (tuple, str)) or value is None:
            return None
        meets = operator.promote is None or position in operator.promote or isinstance(value, np.generic)
        if meet is not None and meets and (isinstance(value, (np.generic, list)) or is_tensor(value)):
            return meet
        if isinstance(value, list):
            return _WIDEN
        dtype = getattr(value, "dtype", None)
        return wide(dtype) if dtype in HALF else None

    def _store(self, index: int, slot: int, value: Any, out: Any) -> None:
        value = np.asarray(value)
        result = self.plan.results[index] if index < len(self.plan.results) else None
        if self.plan.operator.dynamic and value.shape != out.shape:
            out = self._resize(slot, value.shape)
        if value.dtype != out.dtype:
            if result in HALF and out.dtype != result:
                value = cast(value, result)
            if value.dtype == F32 and out.dtype in HALF and value.shape == out.shape:
                tensor = self.plan.tensors[slot]
                if tensor is not None and not tensor.indirect:
                    half.narrow(value, out.dtype, out)
                    return
            value = cast(value, out.dtype)
        found = self.plan.tensors[slot]
        assert found is not None
        if found.indirect:
            views.store(found, self.addresses[slot], value.reshape(found.shape), self.plan.operator.name)
        else:
            try:
                np.copyto(out, value)
            except ValueError:
                raise Failure(lib.ACLNN_ERR_INNER_INFERSHAPE_ERROR, f"{self.plan.operator.name}: the result has the "
                              f"shape {list(value.shape)}, its tensor {list(out.shape)}") from None

    def _resize(self, slot: int, shape: tuple[int, ...]) -> Any:
        """Makes an output's view as small as the result; the caller reads the shape with aclGetViewShape."""
        old = self.plan.tensors[slot]
        assert old is not None
        new = Tensor(shape, old.code, None, old.offset, old.format, old.storage_shape, old.address)
        if new.size > old.size:
            raise Failure(lib.ACLNN_ERR_INNER_INFERSHAPE_ERROR,
                          f"{self.plan.operator.name}: the result {list(shape)} does not fit into {old!r}")
        found = self.plan.objects[slot]
        if found is not None:
            found.shape, found.strides = new.shape, new.strides
        return views.view(new, self.addresses[slot], self.plan.operator.name)


class Rehearsal(Run):
    """An operator's function on zeros: it must take the shapes and values of a call and give those of the outputs."""

    __slots__ = ()

    def _array(self, tensor: Tensor, slot: int) -> Any:
        return np.zeros(tensor.shape, tensor.dtype)

    def _cut(self, inputs: list[Any], outputs: list[Any]) -> Optional[pieces.Cut]:
        return None

    def _store(self, index: int, slot: int, value: Any, out: Any) -> None:
        if np.shape(value) != out.shape and not self.plan.operator.dynamic and not np.size(value) == out.size == 1:
            raise Failure(_INVALID, f"output {index} has the shape {list(out.shape)}; the result has "
                                    f"{list(np.shape(value))}")


REHEARSED = 1 << 16  # elements: what is larger has been tried small, and is not computed twice
_rehearsed: set[Any] = set()


def rehearse(plan: Plan, arguments: tuple[Any, ...]) -> None:
    """Refuses in phase one what an operator's rules let pass but its function cannot do; each kind of call once."""
    key: list[Any] = [id(plan.operator)]
    for tensor in plan.tensors:
        key += (None,) if tensor is None else (tensor.shape, tensor.code)
    for where in (*plan.inputs, *plan.outputs):
        if type(where) is Constant:
            key += type(where.value), repr(where.value)  # text, since NaN is not NaN, and 1 is True
        elif type(where) is tuple:
            key.append(len(where))
    known = tuple(key)
    if known not in _rehearsed:
        if sum(t.size for t in plan.tensors if t is not None) > REHEARSED:
            return
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Rehearsal(plan, [])._bind()()
        if len(_rehearsed) > 4096:
            _rehearsed.clear()
        _rehearsed.add(known)


_WIDEN: Any = object()


def _convert(value: Any, target: Any) -> Any:
    if target is None or value is None:
        return value
    if isinstance(value, list):
        return [_convert(v, wide(v.dtype) if target is _WIDEN and v is not None else target) for v in value]
    return value if value.dtype == target else _cast_input(value, target)


def _cast_input(value: Any, target: Dtype) -> Any:
    if value.dtype in HALF and target == F32:
        return half.widen(value)
    return cast(value, target) if category(value.dtype) > category(target) else value.astype(target)


class Executor:
    """An aclOpExecutor: a plan and the addresses it will run at."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.addresses = [t.address if t is not None else 0 for t in plan.tensors]
        self.repeatable = False
        self.launched = False
        self._run: Optional[Run] = None

    def task(self, device: Device) -> Callable[[], None]:
        """The work on `device`, at the addresses of this moment."""
        run = self._run
        if run is None or run.device is not device:
            run = self._run = Run(self.plan, self.addresses, device)
        return run

    def flattened(self, kind: str) -> list[int]:
        """The slots of ``"inputs"``, ``"outputs"`` or ``"both"``, members of lists one by one."""
        return [s for where in self.prototype(kind) for s in (where if isinstance(where, tuple) else (where,))]

    def prototype(self, kind: str) -> list[Any]:
        """The slots of a kind, as the prototype has them: a list is one tuple."""
        plan = self.plan
        groups = {"inputs": plan.inputs, "outputs": plan.outputs, "both": plan.inputs + plan.outputs}[kind]
        return [w for w in groups if not isinstance(w, Constant)]

    def set_address(self, slot: int, address: int, what: str) -> None:
        """Refreshes one address; launches that are queued keep the old one."""
        if self.plan.tensors[slot] is None:
            raise Failure(_INVALID, f"{what}: this tensor was NULL in phase one, so it has no address to refresh")
        self.addresses = list(self.addresses)
        self.addresses[slot] = address
        self._run = None
