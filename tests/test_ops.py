"""pyacl.ops: operators as functions, what they take, what they say, and the cache behind them."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import pydoc
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from helpers import Gate, upload

import pyacl
from pyacl import (
    BoolArray,
    Context,
    DeviceBuffer,
    FloatArray,
    IntArray,
    Scalar,
    ScalarList,
    Stream,
    Tensor,
    TensorList,
    ffi,
    lib,
    ops,
)
from pyacl.arguments import kind_of
from pyacl.capi import Parameter, operators

ROOT = Path(__file__).resolve().parents[1]
X = np.arange(12, dtype=np.float32).reshape(3, 4)
NULL = ffi.NULL


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


@pytest.fixture
def cache() -> Iterator[ops.Cache]:
    with ops.cache(64) as found:
        yield found


def zeros(*shape: int, dtype: Any = np.float32) -> Tensor:
    return Tensor.zeros(shape or X.shape, dtype)


def result(operator: Callable[..., None], *args: Any, out: Any = None, **named: Any) -> Any:
    """What an operator writes into `out`, its last argument or the one called so."""
    if out is None:
        out = args[-1]
    else:
        named["out"] = out
    operator(*args, **named)
    Stream.default().synchronize()
    return out.numpy()


# Calling

def test_by_position_and_by_name(stream: Stream) -> None:
    x, y = upload(X), upload(X * 2)
    for call in (lambda out: ops.aclnnAdd(x, y, 3, out, stream=stream),
                 lambda out: ops.aclnnAdd(self=x, other=y, alpha=3, out=out, stream=stream),
                 lambda out: ops.aclnnAdd(x, out=out, alpha=3, other=y, stream=stream)):
        out = zeros()
        assert call(out) is None
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), X * 7)


def test_without_a_stream_it_is_the_default_one() -> None:
    out = zeros()
    ops.aclnnNeg(upload(X), out)
    Stream.default().synchronize()
    np.testing.assert_array_equal(out.numpy(), -X)


def test_calls_are_ordered_on_their_stream(stream: Stream) -> None:
    one, total = upload(np.ones_like(X)), zeros()
    for _ in range(20):
        ops.aclnnInplaceAdd(total, one, 1.0, stream=stream)
        ops.aclnnInplaceMuls(total, 2.0, stream=stream)
    stream.synchronize()
    wanted = np.zeros_like(X)
    for _ in range(20):
        wanted = (wanted + 1) * 2
    np.testing.assert_array_equal(total.numpy(), wanted)


def test_optional_arguments_may_be_left_out() -> None:
    x, out, mean, rstd = upload(X), zeros(), zeros(3, 1), zeros(3, 1)
    call: Any = ops.aclnnLayerNorm  # no signature says that what follows is left to its name
    call(x, [4], eps=1e-5, out=out, meanOutOptional=mean, rstdOutOptional=rstd)
    Stream.default().synchronize()
    np.testing.assert_allclose(mean.numpy(), X.mean(1, keepdims=True), rtol=1e-6)
    wanted = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_parameters_with_names_that_python_keeps_for_itself() -> None:
    names = [n for n in operators() if any(p.endswith("_") for p in inspect.signature(getattr(ops, n)).parameters)]
    assert names
    for name in names:
        for parameter in inspect.signature(getattr(ops, name)).parameters:
            assert parameter.isidentifier()


# What becomes of Python values

@pytest.mark.parametrize("alpha", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), Scalar(2), Scalar(2.0, np.float16)])
def test_numbers_become_scalars(alpha: Any) -> None:
    x = upload(X)
    np.testing.assert_array_equal(result(ops.aclnnAdd, x, x, alpha, zeros()), X * 3)


@pytest.mark.parametrize(("dtype", "value", "wanted"), [
    (np.int32, 3, np.int64), (np.int64, 2**40, np.int64), (np.uint8, True, np.bool_), (np.float16, 3, np.float32),
    (np.float32, 0.1, np.float32), (np.float64, 0.1, np.float64), (np.float64, 2**53 + 1, np.float64),
    (np.float32, 2**24 + 1, np.int64), (np.float32, 2**200, np.float64), ("bfloat16", 1.5, np.float32),
    (np.complex64, 1, np.complex64), (np.complex128, 1j, np.complex128), (np.uint64, 2**63, np.uint64),
    (np.bool_, False, np.bool_), (np.int32, 1.5, np.float32), (np.float32, np.float64(3), np.float64),
    (np.float32, 1j, np.complex64)])
def test_the_dtype_that_a_number_gets(dtype: Any, value: Any, wanted: Any) -> None:
    x = Tensor.zeros((2,), dtype)
    with Scalar.for_tensor(value, x.dtype) as scalar:
        assert scalar.dtype == wanted
        assert scalar.value == value


@pytest.mark.parametrize("dims", [[1], (1,), 1, np.array([1]), np.int64(1), iter([1]), range(1, 2), IntArray([1])])
def test_ints(dims: Any) -> None:
    if isinstance(dims, np.generic):
        dims = [dims]
    found = result(ops.aclnnReduceSum, upload(X), dims, False, np.float32, zeros(3))
    np.testing.assert_array_equal(found, X.sum(1))


def test_no_ints_at_all_are_an_empty_array() -> None:
    found = result(ops.aclnnReduceSum, upload(X), [], False, np.float32, Tensor.zeros(()))
    np.testing.assert_array_equal(found, X.sum())


@pytest.mark.parametrize("flag", [True, 1, np.bool_(True)])
def test_bools(flag: Any) -> None:
    found = result(ops.aclnnReduceSum, upload(X), [1], flag, np.float32, zeros(3, 1))
    np.testing.assert_array_equal(found, X.sum(1, keepdims=True))


@pytest.mark.parametrize("dtype", [np.int32, "int32", np.dtype(np.int32), lib.ACL_INT32, "ACL_INT32"])
def test_dtypes(dtype: Any) -> None:
    x = upload(X + 0.75)
    np.testing.assert_array_equal(result(ops.aclnnCast, x, dtype, zeros(dtype=np.int32)), X.astype(np.int32))


@pytest.mark.parametrize("mode", ["none", b"none"])
def test_strings(mode: Any) -> None:
    found = result(ops.aclnnGeluBackwardV2, upload(X), upload(X), mode, zeros())
    assert found.shape == X.shape


@pytest.mark.parametrize("form", [list, tuple, TensorList, iter])
def test_tensor_lists(form: Any) -> None:
    found = result(ops.aclnnCat, form([upload(X), upload(X * 2)]), 0, zeros(6, 4))
    np.testing.assert_array_equal(found, np.concatenate([X, X * 2]))


@pytest.mark.parametrize("form", [list, np.array, ScalarList])
def test_scalar_lists(form: Any) -> None:
    out = [zeros(), zeros()]
    ops.aclnnForeachMulScalarList([upload(X), upload(X)], form([2.0, 3.0]), out)
    Stream.default().synchronize()
    for tensor, k in zip(out, (2, 3)):
        np.testing.assert_array_equal(tensor.numpy(), X * k)


def test_bool_and_float_arrays() -> None:
    for mask in ([True, False, False], BoolArray([True, False, False])):
        images = (upload(np.full(shape, value, np.float32), format="NCHW") for shape, value in (
            ((1, 1, 2, 2), 1), ((1, 1, 3, 3), 1), ((1, 1, 2, 2), 2), ((1, 1, 3, 3), 0)))
        grad, image, weight, found = images
        ops.aclnnConvolutionBackward(grad, image, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, mask, 0, found,
                                     None, None)
        Stream.default().synchronize()
        np.testing.assert_array_equal(found.numpy()[0, 0], [[2, 4, 2], [4, 8, 4], [2, 4, 2]])
    assert FloatArray([1, np.float32(0.5)]).values == (1.0, 0.5)
    with pytest.raises(TypeError, match="'1.5' is not a number"):
        FloatArray(["1.5"])


def test_none_is_null() -> None:
    """The operator says what it misses, by the C contract's code."""
    x = upload(X)
    for arguments, missing in (((None, x, 1, zeros()), "self"), ((x, x, None, zeros()), "alpha"),
                               ((x, x, 1, None), "out")):
        with pytest.raises(pyacl.InvalidArgumentError) as caught:
            ops.aclnnAdd(*arguments)
        assert caught.value.code == lib.ACLNN_ERR_PARAM_NULLPTR
        assert f"{missing}=None" in caught.value.__notes__[0]


def test_every_declared_parameter_is_of_a_known_kind() -> None:
    """What is converted for nobody is passed as it is: only pointers to plain C values may be like that."""
    from pyacl.arguments import plan

    others = {p.type for n in operators() for p, k in zip(plan(n).prototype.params, plan(n).kinds) if not k}
    assert not {t for t in others if "acl" in t}, others
    assert kind_of(Parameter("const aclTensor *", "x")) == "tensor"
    assert kind_of(Parameter("const aclDataType", "t")) == "dtype"
    assert kind_of(Parameter("void *", "p")) == ""


# Errors

ADD = "aclnnAdd(const aclTensor *self, const aclTensor *other, const aclScalar *alpha, aclTensor *out)"
SUM = "aclnnReduceSum(const aclTensor *self, const aclIntArray *dims, bool keepDims, aclDataType dtype, aclTensor *out)"
CAT = "aclnnCat(const aclTensorList *tensors, int64_t dim, aclTensor *out)"


WRONG: Any = ops  # called as no type allows


@pytest.mark.parametrize(("call", "kind", "text", "prototype"), [
    (lambda x: WRONG.aclnnAdd(x, x), TypeError, "argument alpha, out is missing", ADD),
    (lambda x: WRONG.aclnnAdd(x, x, 1, x, 5), TypeError, "takes 4 arguments, not 5", ADD),
    (lambda x: WRONG.aclnnAdd(x, x, 1, x, out=x), TypeError, "argument out is given twice", ADD),
    (lambda x: WRONG.aclnnAdd(x, x, 1, x, where=1), TypeError, "no argument where", ADD),
    (lambda x: WRONG.aclnnAdd(X, x, 1, x), TypeError, "argument self: takes a Tensor, not an ndarray: upload it with", ADD),
    (lambda x: WRONG.aclnnAdd(x, x, "1", x), TypeError, "argument alpha: takes a number or a Scalar, not a str", ADD),
    (lambda x: WRONG.aclnnAdd(x, x, [1], x), TypeError, "argument alpha: takes a number", ADD),
    (lambda x: WRONG.aclnnAdd(x, x, 10**400, x), ValueError, "argument alpha: .*too large", ADD),
    (lambda x: WRONG.aclnnReduceSum(x, "01", False, 0, x), TypeError, "argument dims: takes a sequence, not a str", SUM),
    (lambda x: WRONG.aclnnReduceSum(x, [1.5], False, 0, x), TypeError, "argument dims: .*float", SUM),
    (lambda x: WRONG.aclnnReduceSum(x, [2**63], False, 0, x), ValueError, "argument dims: .*does not fit int64", SUM),
    (lambda x: WRONG.aclnnReduceSum(x, [1], "no", 0, x), TypeError, "argument keepDims: takes a bool", SUM),
    (lambda x: WRONG.aclnnReduceSum(x, [1], 2, 0, x), TypeError, "argument keepDims: takes a bool", SUM),
    (lambda x: WRONG.aclnnReduceSum(x, [1], True, "float31", x), TypeError, "argument dtype: 'float31'", SUM),
    (lambda x: WRONG.aclnnCat(x, 0, x), TypeError, "argument tensors: takes a sequence of Tensors, not a Tensor", CAT),
    (lambda x: WRONG.aclnnCat([x, 3], 0, x), TypeError, "argument tensors: member 1 must be a Tensor, not an int", CAT),
    (lambda x: WRONG.aclnnCat([x, None], 0, x), TypeError, "argument tensors: member 1 is None; a list has Tensors only", CAT),
    (lambda x: WRONG.aclnnCat([x], 0.5, x), TypeError, "argument dim: takes an int, not 0.5", CAT),
    (lambda x: WRONG.aclnnCat([x], None, x), TypeError, "argument dim: takes an int, not None", CAT),
    (lambda x: WRONG.aclnnCat([x], 2**63, x), ValueError, "argument dim: .*does not fit int64_t", CAT),
    (lambda x: WRONG.aclnnMm(x, x, x, 128), ValueError, "argument cubeMathType: 128 does not fit int8_t", "aclnnMm("),
    (lambda x: WRONG.aclnnGeluBackwardV2(x, x, 3, x), TypeError, "argument approximate: takes a str",
     "aclnnGeluBackwardV2("),
    (lambda x: WRONG.aclnnGeluBackwardV2(x, x, "a\0b", x), ValueError, "argument approximate: .*NUL",
     "aclnnGeluBackwardV2("),
    (lambda x: WRONG.aclnnLayerNorm(x, [4], None, None, "1", x), TypeError, "argument eps: takes a float",
     "aclnnLayerNorm("),
])
@pytest.mark.parametrize("cached", [False, True])
def test_a_wrong_argument_is_named_with_the_prototype(call: Callable[[Tensor], None], kind: type, text: str,
                                                      prototype: str, cached: bool) -> None:
    x = upload(X)
    with ops.cache(8 if cached else 0), pytest.raises(kind, match=text) as caught:
        call(x)
    assert prototype in str(caught.value)


def test_what_the_operator_refuses_shows_the_call() -> None:
    x = upload(X)
    with pytest.raises(pyacl.InvalidArgumentError) as caught:
        ops.aclnnCat([x, upload(X[:, :2])], 0, zeros(6, 4))
    assert caught.value.code == lib.ACLNN_ERR_PARAM_INVALID
    assert caught.value.function == "aclnnCatGetWorkspaceSize"
    note = caught.value.__notes__[0]
    assert CAT in note
    assert "tensors=[Tensor (3, 4) float32, Tensor (3, 2) float32]" in note


def test_a_closed_tensor() -> None:
    x, out = upload(X), zeros()
    x.close()
    with pytest.raises(pyacl.ClosedError):
        ops.aclnnNeg(x, out)


def test_what_is_no_operator() -> None:
    with pytest.raises(AttributeError, match="did you mean aclnnAdd"):
        ops.aclnnAd  # noqa: B018
    assert not hasattr(ops, "numpy")
    assert not hasattr(ops, "_private")


# Help

def test_help_signature_and_completion() -> None:
    text = pydoc.render_doc(ops.aclnnAdd, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    assert ADD in text
    assert "alpha: a number or a Scalar" in text
    assert "out: a Tensor, written" in text
    assert "updated in place" in (ops.aclnnInplaceAdd.__doc__ or "")
    assert "weightOptional: a Tensor; may be None" in (ops.aclnnLayerNorm.__doc__ or "")
    assert list(inspect.signature(ops.aclnnAdd).parameters) == ["self", "other", "alpha", "out", "stream"]
    assert repr(ops.aclnnAdd) == f"<operator {ADD}>"
    assert ops.aclnnAdd.__name__ == "aclnnAdd"
    assert ops.aclnnAdd is ops.aclnnAdd
    found = dir(ops)
    assert {"aclnnAdd", "aclnnSoftmax", "cache"} <= set(found)
    assert found == sorted(found)


def test_the_signature_of_every_operator_fits_its_own_binding() -> None:
    for name in operators():
        signature = inspect.signature(getattr(ops, name))
        assert list(signature.parameters)[-1] == "stream"
        needed = [p.name for p in signature.parameters.values()
                  if p.default is p.empty and "ptional" not in p.name]
        signature.bind(**dict.fromkeys(signature.parameters))
        assert set(needed) <= set(signature.parameters)


def test_declared_operators_are_there_too() -> None:
    pyacl.declare_op("aclnnOfMyOwn", "const aclTensor *x, double eps, aclTensor *out")
    assert "aclnnOfMyOwn" in dir(ops)
    assert list(inspect.signature(ops.aclnnOfMyOwn).parameters) == ["x", "eps", "out", "stream"]
    with pytest.raises((pyacl.NotEmulatedError, pyacl.MissingSymbolError), match="aclnnOfMyOwn"):
        ops.aclnnOfMyOwn(upload(X), 1e-5, zeros())


def test_declarations_that_cannot_be() -> None:
    for name, params, text in (("aclnnByValue", "const aclTensor x, aclTensor *out", "x is passed by its address"),
                               ("aclnnAdd", "const aclTensor *x, aclTensor *out", "already declared"),
                               ("aclnn-x", "aclTensor *out", "not a C function name")):
        with pytest.raises(ValueError, match=text):
            pyacl.declare_op(name, params)


def test_the_stub_is_current() -> None:
    if not (ROOT / "pyacl").is_dir():
        pytest.skip("an installed package is tested, without its sources")
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "gen_pyi.py"), "--check"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout[:2000] + done.stderr


# The cache

def test_it_is_off_by_default() -> None:
    code = "import pyacl.op_call; print(pyacl.op_call._cache)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_hits_and_misses(cache: ops.Cache) -> None:
    for k in range(5):
        x, y, out = upload(X + k), upload(X * k), zeros()
        np.testing.assert_array_equal(result(ops.aclnnAdd, x, y, 2.0, out), X + k + X * k * 2)
    assert (cache.hits, cache.misses, len(cache)) == (4, 1, 1)
    out = zeros()
    np.testing.assert_array_equal(result(ops.aclnnAdd, other=upload(X), self=upload(X), alpha=2.0, out=out), X * 3)
    assert (cache.hits, cache.misses) == (5, 1)


def test_turning_it_off() -> None:
    with ops.cache(4) as found:
        result(ops.aclnnNeg, upload(X), zeros())
        assert len(found) == 1
    assert len(found) == 0
    result(ops.aclnnNeg, upload(X), zeros())
    assert (found.hits, found.misses) == (0, 1)
    other = ops.cache(4)
    result(ops.aclnnNeg, upload(X), zeros())
    off = ops.cache(0)
    assert len(other) == 0
    result(ops.aclnnNeg, upload(X), zeros())
    assert (other.misses, off.misses) == (1, 0)
    with pytest.raises(ValueError, match="1 or more"):
        ops.cache(-1)


def test_a_new_cache_takes_the_place_of_the_old_one() -> None:
    with ops.cache(4) as old:
        result(ops.aclnnNeg, upload(X), zeros())
        with ops.cache(8) as new:
            assert len(old) == 0
            result(ops.aclnnNeg, upload(X), zeros())
            assert (old.misses, new.misses) == (1, 1)
        result(ops.aclnnNeg, upload(X), zeros())
        assert (old.misses, new.misses) == (1, 1)


NUMBERS: dict[str, Callable[[], Any]] = {
    "python floats": lambda: 1.5, "zero": lambda: 0.0, "minus zero": lambda: -0.0, "an int": lambda: 1,
    "a bool": lambda: True, "one": lambda: 1.0, "float64": lambda: np.float64(1), "float32": lambda: np.float32(1),
    "an int64": lambda: np.int64(1), "a Scalar": lambda: Scalar(1.0), "nan": lambda: float("nan"), "two": lambda: 2.0,
    "a Scalar of float16": lambda: Scalar(1.0, np.float16),
}


def test_values_that_differ_in_anything_make_plans_of_their_own(cache: ops.Cache) -> None:
    x = upload(X + 1)
    for misses, (name, make) in enumerate(NUMBERS.items(), 1):
        for hits in (0, 1):
            found = result(ops.aclnnMuls, x, make(), zeros())
            np.testing.assert_array_equal(found, (X + 1) * np.float32(getattr(make(), "value", make())), name)
            assert cache.misses == misses, name
            assert cache.hits == misses - 1 + hits, name
            if make() == 0:
                assert (np.signbit(found) == (name == "minus zero")).all(), name


def layouts() -> dict[str, Callable[[], Tensor]]:
    square = np.arange(16, dtype=np.float32).reshape(4, 4)
    return {
        "dense": lambda: upload(square), "transposed": lambda: upload(square).T,
        "offset": lambda: upload(np.arange(24, dtype=np.float32).reshape(6, 4))[1:5],
        "other offset": lambda: upload(np.arange(24, dtype=np.float32).reshape(6, 4))[2:],
        "stride": lambda: upload(np.arange(32, dtype=np.float32).reshape(4, 8))[:, ::2],
        "expanded": lambda: upload(square[:1]).expand(4, 4),
        "float16": lambda: upload(square.astype(np.float16)), "bfloat16": lambda: upload(square, dtype="bfloat16"),
        "shape": lambda: upload(square[:2]), "rank": lambda: upload(square[None]), "format": lambda: upload(
            square[None, None], format="NCHW"), "other format": lambda: upload(square[None, None], format="NHWC"),
    }


def test_layouts_make_plans_of_their_own(cache: ops.Cache) -> None:
    for misses, (name, make) in enumerate(layouts().items(), 1):
        for _ in range(2):
            x = make()
            out = Tensor.zeros(x.shape, x.dtype, format=x.format)
            np.testing.assert_array_equal(result(ops.aclnnNeg, x, out), -x.numpy(), name)
        assert (cache.misses, cache.hits) == (misses, misses), name


def test_attributes_make_plans_of_their_own(cache: ops.Cache) -> None:
    x = upload(X)
    for axis in (0, 1, 0, 1):
        for dims in ([axis], (axis,), np.array([axis]), IntArray([axis])):
            found = result(ops.aclnnReduceSum, x, dims, False, np.float32, zeros(X.shape[1 - axis]))
            np.testing.assert_array_equal(found, X.sum(axis))
    assert cache.misses <= 8
    assert cache.hits >= 8


def test_what_changes_between_two_calls_is_seen(cache: ops.Cache) -> None:
    x = upload(X)
    dims = [0]

    class Changing:
        def __iter__(self) -> Iterator[int]:
            return iter(dims)

    same = Changing()
    sizes = np.array([0], object)
    for axis in (0, 1):
        dims[0] = sizes[0] = axis
        for given in (dims, same, sizes):
            found = result(ops.aclnnReduceSum, x, given, False, np.float32, zeros(X.shape[1 - axis]))
            np.testing.assert_array_equal(found, X.sum(axis))


def test_what_can_be_read_once(cache: ops.Cache) -> None:
    x = upload(X)
    for _ in range(2):
        found = result(ops.aclnnReduceSum, x, iter([1]), False, np.float32, zeros(3))
        np.testing.assert_array_equal(found, X.sum(1))
        found = result(ops.aclnnCat, (t for t in (x, x)), 0, zeros(6, 4))
        np.testing.assert_array_equal(found, np.concatenate([X, X]))
    assert (cache.hits, cache.misses) == (2, 2)


def test_none_or_a_tensor(cache: ops.Cache) -> None:
    x, weight, bias = upload(X), upload(np.full(4, 3, np.float32)), upload(np.full(4, 5, np.float32))
    plain = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    for _ in range(2):
        for w, b, wanted in ((None, None, plain), (weight, None, plain * 3), (weight, bias, plain * 3 + 5)):
            out = zeros()
            ops.aclnnLayerNorm(x, [4], w, b, 1e-5, out, None, None)
            Stream.default().synchronize()
            np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-5, atol=1e-5)
    assert (cache.hits, cache.misses) == (3, 3)


def test_lengths_of_lists(cache: ops.Cache) -> None:
    for n in (1, 2, 3, 2, 1):
        arrays = [X * (k + n) for k in range(n)]
        found = result(ops.aclnnCat, [upload(a) for a in arrays], 0, zeros(3 * n, 4))
        np.testing.assert_array_equal(found, np.concatenate(arrays))
    assert (cache.hits, cache.misses) == (2, 3)


def test_one_memory_in_two_places_is_another_plan(cache: ops.Cache) -> None:
    """Some operators plan differently when they write where they read (a copy onto itself cannot be repeated)."""
    x, y, out = upload(X), upload(X * 2), zeros()
    np.testing.assert_array_equal(result(ops.aclnnAdd, x, y, 1.0, out), X * 3)
    np.testing.assert_array_equal(result(ops.aclnnAdd, x, y, 1.0, x), X * 3)
    np.testing.assert_array_equal(result(ops.aclnnAdd, y, y, 1.0, out), X * 4)
    assert (cache.hits, cache.misses) == (0, 3)
    np.testing.assert_array_equal(result(ops.aclnnAdd, y, x, 1.0, y), X * 5)
    assert (cache.hits, cache.misses) == (1, 3)


def test_memory_that_is_not_aligned_is_not_cached(cache: ops.Cache) -> None:
    """An address of another library's; a refresh could not take it."""
    with DeviceBuffer(256) as memory:
        for start in (0, 4, 8, 4, 0):
            x = Tensor(DeviceBuffer.from_address(memory.address + start, 16), (4,), np.float32)
            x.copy_(X[0] + start)
            out = zeros(4)
            np.testing.assert_array_equal(result(ops.aclnnNeg, x, out), -(X[0] + start))
        assert (cache.hits, cache.misses) == (1, 1)
        cache.clear()


def test_operators_that_cannot_be_repeated(cache: ops.Cache) -> None:
    for k in range(3):
        x, out = upload(X * k), zeros()
        ops.aclnnIndexFillTensor(x, 0, [1], 7.0, out)
        Stream.default().synchronize()
        wanted = X * k
        wanted[1] = 7
        np.testing.assert_array_equal(out.numpy(), wanted)
    assert len(cache) == 0
    assert cache.hits == 0


def test_refusals_are_the_same_with_and_without(cache: ops.Cache) -> None:
    for _ in range(2):
        with pytest.raises(pyacl.InvalidArgumentError) as caught:
            ops.aclnnAdd(upload(X), upload(X), 1.0, zeros(7))
        assert caught.value.code == lib.ACLNN_ERR_PARAM_INVALID
    assert len(cache) == 0


def test_several_streams(cache: ops.Cache) -> None:
    with Stream() as a, Stream() as b:
        outs = []
        for k in range(6):
            outs.append(zeros())
            ops.aclnnAdd(upload(X), upload(X * k), 1.0, outs[-1], stream=(a, b)[k % 2])
        a.synchronize()
        b.synchronize()
    for k, out in enumerate(outs):
        np.testing.assert_array_equal(out.numpy(), X * (k + 1))
    assert (cache.hits, cache.misses) == (5, 1)


def test_calls_that_wait_keep_their_tensors(cache: ops.Cache, stream: Stream) -> None:
    gate = Gate(stream)
    outs = []
    for k in range(4):
        outs.append(zeros())
        ops.aclnnAdd(upload(X), upload(X * k), 1.0, outs[-1], stream=stream)
        gc.collect()
    others = [upload(X * 9) for _ in range(8)]  # would land in memory that was freed too early
    gate.open()
    stream.synchronize()
    for k, out in enumerate(outs):
        np.testing.assert_array_equal(out.numpy(), X * (k + 1))
    assert others
    gate.close()


def test_eviction_while_in_flight(stream: Stream) -> None:
    gate = Gate(stream)
    with ops.cache(2) as cache:
        outs = [zeros(n) for n in range(1, 8)]
        gate.open_soon()
        for out in outs:
            n, = out.shape
            ops.aclnnAdd(upload(np.arange(n, dtype=np.float32)), upload(np.ones(n, np.float32)), 1.0, out, stream=stream)
        assert len(cache) == 2
        stream.synchronize()
        for out in outs:
            np.testing.assert_array_equal(out.numpy(), np.arange(1, out.shape[0] + 1))
    gate.close()


def test_the_one_that_was_not_used_for_longest_goes() -> None:
    with ops.cache(2) as cache:
        for n, hit in ((1, 0), (2, 0), (1, 1), (3, 1), (1, 2), (2, 2), (1, 3), (3, 3)):
            result(ops.aclnnNeg, zeros(n), zeros(n))
            assert cache.hits == hit, n


def test_clearing_it(cache: ops.Cache) -> None:
    result(ops.aclnnNeg, upload(X), zeros())
    cache.clear()
    assert len(cache) == 0
    np.testing.assert_array_equal(result(ops.aclnnNeg, upload(X), zeros()), -X)
    assert (cache.hits, cache.misses) == (0, 2)


def test_closing_a_tensor_that_a_cached_executor_has(cache: ops.Cache) -> None:
    x, out = upload(X), zeros()
    result(ops.aclnnNeg, x, out)
    x.close()
    np.testing.assert_array_equal(result(ops.aclnnNeg, upload(X * 3), out), X * -3)
    assert cache.misses == 2


def test_threads(cache: ops.Cache, device: Any) -> None:
    failures: list[BaseException] = []

    def work(k: int) -> None:
        try:
            device.set_current()
            with Stream() as stream:
                for i in range(30):
                    out = zeros()
                    ops.aclnnAdd(upload(X), upload(X * i), float(k % 2), out, stream=stream)
                    stream.synchronize()
                    np.testing.assert_array_equal(out.numpy(), X + X * i * (k % 2))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache.hits + cache.misses == 120


def test_contexts_have_their_own(cache: ops.Cache, device: Any) -> None:
    result(ops.aclnnNeg, upload(X), zeros())
    with Context(0) as other:
        other.set_current()
        with Stream() as stream:
            out = zeros()
            ops.aclnnNeg(upload(X * 2), out, stream=stream)
            stream.synchronize()
            np.testing.assert_array_equal(out.numpy(), X * -2)
    device.set_current()
    assert (cache.hits, cache.misses) == (0, 2)
    np.testing.assert_array_equal(result(ops.aclnnNeg, upload(X), zeros()), -X)
    assert cache.hits == 1


def test_what_phase_one_reads_of_the_process_and_the_thread(cache: ops.Cache, stream: Stream) -> None:
    x = upload(X)
    before = ffi.new("int64_t *")
    assert not lib.aclrtGetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, before)
    result(ops.aclnnNeg, x, zeros())
    try:
        assert not lib.aclrtSetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, 1 - before[0])
        result(ops.aclnnNeg, x, zeros())
    finally:
        lib.aclrtSetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, before[0])
    assert (cache.hits, cache.misses) == (0, 2)
    stream.set_resource_limit("vector_core", 2)
    try:
        result(ops.aclnnNeg, x, zeros())
        assert (cache.hits, cache.misses) == (0, 3)
    finally:
        assert not lib.aclrtUnuseStreamResInCurrentThread(stream.handle)
    result(ops.aclnnNeg, x, zeros())
    assert (cache.hits, cache.misses) == (1, 3)


def test_a_closed_argument_is_refused_although_its_like_was_cached(cache: ops.Cache) -> None:
    x, y, out, two = upload(X), upload(X), zeros(), Scalar(2.0, np.float32)
    members = [upload(X), upload(X)]
    for _ in range(2):
        result(ops.aclnnAdd, x, y, two, out)
        result(ops.aclnnCat, members, 0, zeros(6, 4))
    assert (cache.hits, cache.misses) == (2, 2)
    gone = [upload(X), zeros(), Scalar(2.0, np.float32)]
    view = upload(X)[:]
    gone[0].close(), gone[1].close(), gone[2].close(), view.buffer.close()
    for wrong in ((gone[0], y, two, out), (x, gone[0], two, out), (x, y, gone[2], out), (x, y, two, gone[1]),
                  (view, y, two, out)):
        with pytest.raises(pyacl.ClosedError):
            ops.aclnnAdd(*wrong)
        np.testing.assert_array_equal(result(ops.aclnnAdd, x, y, two, out), X * 3)
    with pytest.raises(pyacl.ClosedError):
        ops.aclnnCat([members[0], gone[0]], 0, zeros(6, 4))
    np.testing.assert_array_equal(result(ops.aclnnCat, members, 0, zeros(6, 4)), np.concatenate([X, X]))


def test_a_call_within_a_call_has_an_executor_of_its_own(cache: ops.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finaliser or a signal's handler may call the same operator between a refresh and its launch."""
    x, out, other, inner = upload(X), zeros(), upload(X * 5), zeros()
    result(ops.aclnnNeg, x, out)
    refresh, calls = pyacl.Executor.rebind, []

    def interrupted(executor: Any, tensors: Any) -> None:
        refresh(executor, tensors)
        calls.append(executor)
        if len(calls) == 1:
            ops.aclnnNeg(other, inner)

    monkeypatch.setattr(pyacl.Executor, "rebind", interrupted)
    y, mine = upload(X * 2), zeros()
    np.testing.assert_array_equal(result(ops.aclnnNeg, y, mine), X * -2)
    np.testing.assert_array_equal(inner.numpy(), X * -5)
    assert len(cache) == 1
    np.testing.assert_array_equal(result(ops.aclnnNeg, x, out), -X)


def test_threads_that_follow_one_another_share_nothing(cache: ops.Cache, device: Any) -> None:
    """The system gives a thread's number to the next one; phase one's thread must be the one that refreshes."""

    def work() -> None:
        device.set_current()
        result(ops.aclnnNeg, upload(X), zeros())

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert (cache.hits, cache.misses) == (0, 3)


def test_an_executor_that_went_leaves_a_graph_that_captured_it(stream: Stream) -> None:
    x, out = upload(X), zeros()
    with ops.cache(1):
        with pyacl.Graph.capture(stream) as graph:
            ops.aclnnNeg(x, out, stream=stream)
        for shape in ((2,), (3,)):
            result(ops.aclnnNeg, zeros(*shape), zeros(*shape))
        graph.execute(stream)
        np.testing.assert_array_equal(out.numpy(), -X)
    graph.execute(stream)
    graph.close()


def test_nobody_is_told_to_close_what_the_cache_dropped(stream: Stream) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with ops.cache(1) as cache:
            for n in (1, 2, 3):
                ops.aclnnNeg(zeros(n), zeros(n), stream=stream)
            gc.collect()
            cache.clear()
        stream.synchronize()
        gc.collect()


def test_members_of_lists_are_refreshed_and_in_place_ones_twice(cache: ops.Cache) -> None:
    for k in range(1, 4):
        arrays = [X * k, X + k]
        found = result(ops.aclnnCat, [upload(a) for a in arrays], 0, zeros(6, 4))
        np.testing.assert_array_equal(found, np.concatenate(arrays))
        x = upload(X * k)
        ops.aclnnInplaceAdd(x, upload(X), 2.0)
        ops.aclnnForeachNeg([upload(a) for a in arrays], outs := [zeros(), zeros()])
        Stream.default().synchronize()
        np.testing.assert_array_equal(x.numpy(), X * (k + 2))
        for a, out in zip(arrays, outs):
            np.testing.assert_array_equal(out.numpy(), -a)
    assert (cache.hits, cache.misses) == (6, 3)


def test_closing_what_a_cached_call_used_before_leaves_its_executor(cache: ops.Cache) -> None:
    x, y, out = upload(X), upload(X * 2), zeros()
    result(ops.aclnnNeg, x, out)
    result(ops.aclnnNeg, y, out)
    x.close()
    np.testing.assert_array_equal(result(ops.aclnnNeg, y, out), X * -2)
    assert (cache.hits, cache.misses) == (2, 1)
    y.close()
    np.testing.assert_array_equal(result(ops.aclnnNeg, upload(X), out), -X)
    assert (cache.hits, cache.misses) == (2, 2)


# Operators that change their tensors' descriptions

@pytest.mark.parametrize("cached", [False, True])
def test_a_weight_in_another_layout(cached: bool) -> None:
    with ops.cache(4) if cached else contextlib.nullcontext():
        for k in (5, 7):
            matrix, rows = np.arange(16 * 32, dtype=np.float16).reshape(16, 32) % k, np.ones((2, 16), np.float16)
            weight, out = upload(matrix), Tensor.zeros((2, 32), np.float16)
            ops.aclnnTransMatmulWeight(weight)
            assert weight.format.name == "FRACTAL_NZ"
            assert weight.storage_shape == (2, 1, 16, 16)
            ops.aclnnMatmulWeightNz(upload(rows), weight, out, 0)
            Stream.default().synchronize()
            np.testing.assert_array_equal(out.numpy(), rows @ matrix)


@pytest.mark.parametrize("cached", [False, True])
def test_results_that_decide_their_shape(cached: bool) -> None:
    with ops.cache(4) if cached else contextlib.nullcontext():
        for x in (np.eye(3, dtype=np.float32), np.ones((3, 3), np.float32), np.eye(3, dtype=np.float32)):
            out = Tensor.zeros((9, 2), np.int64)
            ops.aclnnNonzero(upload(x), out)
            Stream.default().synchronize()
            assert out.shape == (9, 2)
            assert out.refresh() is out
            np.testing.assert_array_equal(out.numpy(), np.argwhere(x))


def test_an_executor_cannot_repeat_what_changes_its_tensors() -> None:
    with pytest.raises(pyacl.OperatorError, match="aclnnNonzero"):
        pyacl.Executor("aclnnNonzero", upload(X), Tensor.zeros((12, 2), np.int64), repeatable=True)
