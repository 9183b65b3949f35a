"""Executors: planned once, launched once or again and again, at addresses that change in between."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import threading
import weakref
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from helpers import Gate, alive, in_thread, python, upload

import pyacl
from pyacl import Executor, Stream, Tensor, TensorList, ffi, lib

NULL = ffi.NULL
X = np.arange(12, dtype=np.float32).reshape(3, 4)
INVALID, INNER, INNER_NULL = (lib.ACLNN_ERR_PARAM_INVALID, lib.ACLNN_ERR_INNER, lib.ACLNN_ERR_INNER_NULLPTR)


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


@pytest.fixture
def gate(stream: Stream) -> Iterator[Gate]:
    """Holds back what the test queues on `stream`."""
    found = Gate(stream)
    yield found
    found.open()
    stream.synchronize()
    found.close()


def zeros(*shape: int) -> Tensor:
    return Tensor.zeros(shape or X.shape)


def adder(x: Tensor, y: Tensor, out: Tensor) -> Executor:
    return Executor("aclnnAdd", x, y, 1.0, out, repeatable=True)


class Calls:
    """Which executors the library gave and took back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *operators: str) -> None:
        self.made: list[int] = []
        self.destroyed: list[int] = []
        for operator in operators:
            self._watch(monkeypatch, operator + "GetWorkspaceSize", self.made, lambda *args: args[-1][0])
        self._watch(monkeypatch, "aclDestroyAclOpExecutor", self.destroyed, lambda executor: executor)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, found: list[int], handle: Callable[..., Any]) -> None:
        function = getattr(lib, name)

        def call(*args: Any) -> int:
            code: int = function(*args)
            if not code:
                found.append(int(ffi.cast("uintptr_t", handle(*args))))
            return code

        monkeypatch.setattr(lib, name, call)


# The one-shot life

def test_one_launch(stream: Stream) -> None:
    out = zeros()
    Executor("aclnnAdd", upload(X), upload(X * 2), 3, out).launch(stream)
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 7)


def test_by_name_and_mixed(stream: Stream) -> None:
    x, y, out = upload(X), upload(X * 2), zeros()
    Executor("aclnnAdd", other=y, alpha=2.0, out=out, self=x).execute(stream)
    np.testing.assert_array_equal(out.numpy(), X * 5)
    Executor("aclnnAdd", x, out=out, alpha=1, other=y).execute(stream)
    np.testing.assert_array_equal(out.numpy(), X * 3)


def test_the_default_stream() -> None:
    out = zeros()
    Executor("aclnnAdd", upload(X), upload(X), 1.0, out).execute()
    np.testing.assert_array_equal(out.numpy(), X * 2)


def test_it_is_used_up_by_its_launch(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "aclnnAdd")
    out = zeros()
    once = Executor("aclnnAdd", upload(X), upload(X), 1.0, out)
    assert not once.closed
    once.launch(stream)
    assert once.closed
    for again in (once.launch, once.execute, once.__enter__):
        with pytest.raises(pyacl.ClosedError, match="one-shot executor is used up.*repeatable=True"):
            again()
    once.close()
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)
    assert len(calls.made) == 1
    assert not calls.destroyed  # the second phase did that


def test_it_is_used_up_by_a_launch_that_fails(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second phase frees a one-shot executor when it fails, too: destroying it then would be a double free."""
    x, out = upload(X), zeros(3, 4)
    calls = Calls(monkeypatch, "aclnnSoftmax")
    once = Executor("aclnnSoftmax", x, -1, out)
    assert once.workspace_size
    once._size = 0  # as a caller would do who forgets the workspace
    with pytest.raises(pyacl.AclError) as caught:
        once.launch(stream)
    assert caught.value.code == lib.ACLNN_ERR_PARAM_NULLPTR
    assert caught.value.function == "aclnnSoftmax"
    assert once.closed
    with pytest.raises(pyacl.ClosedError):
        once.launch(stream)
    once.close()
    del once
    gc.collect()
    assert not calls.destroyed


def test_a_stream_that_is_none_does_not_use_it_up(stream: Stream) -> None:
    out = zeros()
    once = Executor("aclnnAdd", upload(X), upload(X), 1.0, out)
    with pytest.raises(TypeError):
        once.launch(0)  # type: ignore[arg-type]
    once.launch(stream)
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)


@pytest.mark.parametrize("end", ["close", "drop", "with"])
@pytest.mark.parametrize("operator", ["aclnnAdd", "aclnnIndexFillTensor"])
def test_one_that_is_never_launched_is_not_leaked(operator: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, operator)
    x, out = upload(X), zeros()
    arguments = (x, x, 1.0, out) if operator == "aclnnAdd" else (x, 0, [1], 2.0, out)
    once = Executor(operator, *arguments)
    if end == "close":
        once.close()
        once.close()
    elif end == "with":
        with once:
            pass
    del once
    gc.collect()
    assert len(calls.made) == 1
    assert calls.destroyed == calls.made


def test_nothing_of_a_refused_plan_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "aclnnAdd")
    free, _ = pyacl.mem_info()
    with pytest.raises(pyacl.InvalidArgumentError) as caught:
        Executor("aclnnAdd", upload(X), upload(X), 1.0, zeros(5))
    assert caught.value.code == INVALID
    assert caught.value.function == "aclnnAddGetWorkspaceSize"
    notes = "\n".join(caught.value.__notes__)
    assert "aclnnAdd(const aclTensor *self" in notes
    assert "out=Tensor (5,) float32" in notes
    assert not calls.made
    del caught
    gc.collect()
    assert pyacl.mem_info()[0] == free


def test_what_is_no_operator() -> None:
    with pytest.raises(LookupError, match="did you mean aclnnAdd"):
        Executor("aclnnAd")
    with pytest.raises(LookupError, match="declare_op"):
        Executor("aclnnNobodyHasThis")


def test_temporaries_live_until_the_work_is_done(stream: Stream, gate: Gate) -> None:
    out = zeros()
    Executor("aclnnAdd", upload(X), upload(X), 1.0, out).launch(stream)
    gc.collect()
    others = [upload(X * 9) for _ in range(4)]  # would land in memory that was freed too early
    gate.open()
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)
    assert others


def test_nothing_is_kept_after_the_synchronise(stream: Stream) -> None:
    x = upload(X)
    gone = weakref.ref(x)
    Executor("aclnnAdd", x, x, 1.0, zeros()).launch(stream)
    del x
    assert alive(gone)
    stream.synchronize()
    assert not alive(gone)


def test_it_is_asynchronous(stream: Stream, gate: Gate) -> None:
    out = zeros()
    Executor("aclnnAdd", upload(X), upload(X), 1.0, out).launch(stream)
    assert not out.numpy().any()
    gate.open()
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)


# The repeatable life

def test_many_launches(stream: Stream) -> None:
    one, total = upload(np.ones_like(X)), zeros()
    with Executor("aclnnInplaceAdd", total, one, 1.0, repeatable=True) as add:
        for _ in range(300):
            add.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(total.numpy(), np.full_like(X, 300))


def test_several_streams() -> None:
    x, out = upload(X), [zeros() for _ in range(3)]
    with adder(x, x, out[0]) as add, Stream() as a, Stream() as b, Stream() as c:
        for stream, target in zip((a, b, c), out):
            add.set_output(0, target)
            add.launch(stream)
        for stream in (a, b, c):
            stream.synchronize()
    for target in out:
        np.testing.assert_array_equal(target.numpy(), X * 2)


def test_it_is_destroyed_once(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "aclnnAdd")
    x, out = upload(X), zeros()
    add = adder(x, x, out)
    for _ in range(3):
        add.launch(stream)
    stream.synchronize()
    assert not calls.destroyed
    add.close()
    add.close()
    assert len(calls.made) == 1
    assert calls.destroyed == calls.made
    for used in (add.launch, add.execute, lambda: add.set_input(0, x), lambda: add.set_dynamic_input(0, 0, x)):
        with pytest.raises(pyacl.ClosedError, match="Executor of aclnnAdd is closed"):
            used()


def test_forgetting_to_close_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "aclnnAdd")
    x = upload(X)
    add = adder(x, x, zeros())
    with pytest.warns(ResourceWarning, match="Executor aclnnAdd repeatable.* was never closed"):
        del add
    assert calls.destroyed == calls.made


def test_closing_waits_for_the_launches(stream: Stream) -> None:
    gate = Gate(stream)
    out = zeros()
    add = adder(upload(X), upload(X), out)
    add.launch(stream)
    opened: list[bool] = []
    gate.open_soon(lambda: opened.append(True))
    add.close()
    assert opened
    np.testing.assert_array_equal(out.numpy(), X * 2)
    gate.close()


def test_tensors_closed_while_queued_wait(stream: Stream) -> None:
    gate = Gate(stream)
    x, y, out = upload(X), upload(X), zeros()
    add = adder(x, y, out)
    add.launch(stream)
    opened: list[bool] = []
    gate.open_soon(lambda: opened.append(True))
    x.close()
    assert opened
    assert add.closed  # it could have run again, without its tensor
    with pytest.raises(pyacl.ClosedError, match="closed, or something that it uses was"):
        add.launch(stream)
    np.testing.assert_array_equal(out.numpy(), X * 2)
    gate.close()


def test_the_shape_of_a_plan_is_that_of_its_making(stream: Stream) -> None:
    """Arguments are read in the first phase: what the caller does with them afterwards changes nothing."""
    x, out, sizes = upload(X), zeros(3), [1]
    with Executor("aclnnReduceSum", x, sizes, False, lib.ACL_FLOAT, out, repeatable=True) as total:
        sizes[0] = 0
        total.execute(stream)
        np.testing.assert_array_equal(out.numpy(), X.sum(1))


def test_operators_that_cannot_be_repeated(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "aclnnIndexFillTensor")
    x, out = upload(X), zeros()
    with pytest.raises(pyacl.OperatorError) as caught:
        Executor("aclnnIndexFillTensor", x, 0, [1], 7.0, out, repeatable=True)
    assert caught.value.code == INNER
    assert caught.value.function == "aclSetAclOpExecutorRepeatable"
    assert calls.destroyed == calls.made
    Executor("aclnnIndexFillTensor", x, 0, [1], 7.0, out).execute(stream)
    wanted = X.copy()
    wanted[1] = 7
    np.testing.assert_array_equal(out.numpy(), wanted)


def test_after_a_launch_it_is_too_late_to_make_it_repeatable() -> None:
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    x, out = upload(X), zeros()
    assert not lib.aclnnNegGetWorkspaceSize(x.handle, out.handle, size, executor)
    assert not lib.aclnnNeg(NULL, 0, executor[0], NULL)
    assert lib.aclSetAclOpExecutorRepeatable(executor[0]) == INNER
    assert not lib.aclrtSynchronizeStream(NULL)
    np.testing.assert_array_equal(out.numpy(), -X)


def test_null_executors() -> None:
    x = upload(X)
    members = TensorList([x])
    address = ffi.cast("void *", x.address)
    assert lib.aclSetAclOpExecutorRepeatable(NULL) == INNER_NULL == 561103
    assert lib.aclDestroyAclOpExecutor(NULL) == INNER_NULL
    for name in ("Input", "Output", ""):
        assert getattr(lib, f"aclSet{name}TensorAddr")(NULL, 0, x.handle, address) == INNER_NULL
        assert getattr(lib, f"aclSetDynamic{name}TensorAddr")(NULL, 0, 0, members.handle, address) == INNER_NULL
    error = pyacl.errors.error(INNER_NULL, "aclSetAclOpExecutorRepeatable")
    assert error.name == "ACLNN_ERR_INNER_NULLPTR"
    assert isinstance(error, pyacl.OperatorError)


def test_null_tensors_to_refresh() -> None:
    x = upload(X)
    address = ffi.cast("void *", x.address)
    with adder(x, x, zeros()) as add:
        for name in ("Input", "Output", ""):
            assert getattr(lib, f"aclSet{name}TensorAddr")(add.handle, 0, NULL, address) == INNER_NULL
            assert getattr(lib, f"aclSetDynamic{name}TensorAddr")(add.handle, 0, 0, NULL, address) == INNER_NULL


# Other addresses

def test_inputs_and_outputs_are_refreshed(stream: Stream) -> None:
    a, b, c = (upload(X + k) for k in (1, 10, 100))
    out, other = zeros(), zeros()
    with adder(a, b, out) as add:
        add.set_input(0, c)
        add.execute(stream)
        np.testing.assert_array_equal(out.numpy(), X * 2 + 110)
        add.set_input(1, a)
        add.set_output(0, other)
        add.execute(stream)
        np.testing.assert_array_equal(other.numpy(), X * 2 + 101)
        np.testing.assert_array_equal(out.numpy(), X * 2 + 110)
        add.set_tensor(0, a)  # inputs first,
        add.set_tensor(1, b)
        add.set_tensor(2, out)  # then outputs
        add.execute(stream)
        np.testing.assert_array_equal(out.numpy(), X * 2 + 11)


def test_swapping_addresses_between_launches(stream: Stream) -> None:
    one, a, b = upload(np.ones_like(X)), upload(X), zeros()
    with adder(a, one, b) as add:
        for _ in range(50):
            add.launch(stream)
            a, b = b, a
            add.set_input(0, a)
            add.set_output(0, b)
        stream.synchronize()
        np.testing.assert_array_equal(a.numpy(), X + 50)


def test_the_users_tensors_stay_what_they_are(stream: Stream) -> None:
    """A refresh writes the new address into the description that it is given, which is the executor's own."""
    x, y, out = upload(X), upload(X * 10), zeros()
    with adder(x, x, out) as add:
        add.set_input(0, y)
        Executor("aclnnAdd", x, x, 1.0, out).execute(stream)
        np.testing.assert_array_equal(out.numpy(), X * 2)
        add.execute(stream)
        np.testing.assert_array_equal(out.numpy(), X * 11)
    address = ffi.new("void **")
    assert not lib.aclGetRawTensorAddr(x.handle, address)
    assert int(ffi.cast("uintptr_t", address[0])) == x.address


def test_queued_launches_keep_the_old_address(stream: Stream, gate: Gate) -> None:
    x, y, first, second = upload(X), upload(X * 5), zeros(), zeros()
    with adder(x, x, first) as add:
        add.launch(stream)
        add.set_input(0, y)
        add.set_input(1, y)
        add.set_output(0, second)
        add.launch(stream)
        gate.open()
        stream.synchronize()
        np.testing.assert_array_equal(first.numpy(), X * 2)
        np.testing.assert_array_equal(second.numpy(), X * 10)


def test_what_a_refresh_replaced_lives_while_queued(stream: Stream, gate: Gate) -> None:
    y, out = upload(X * 5), zeros()
    with adder(upload(X), upload(X), out) as add:
        add.launch(stream)
        add.set_input(0, y)
        add.set_input(1, y)
        gc.collect()
        others = [upload(X * 9) for _ in range(4)]
        gate.open()
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), X * 2)
        assert others


def test_what_a_refresh_replaced_is_let_go(stream: Stream) -> None:
    x, y = upload(X), upload(X)
    gone = weakref.ref(x)
    with adder(x, y, zeros()) as add:
        add.execute(stream)
        add.set_input(0, y)
        del x
        assert not alive(gone)
        assert add.arguments["self"] is y
    members = [upload(X), upload(X)]
    gone = weakref.ref(members[0])
    with Executor("aclnnCat", members, 0, zeros(6, 4), repeatable=True) as cat:
        cat.execute(stream)
        cat.set_dynamic_input(0, 0, y)
        del members[0]
        assert not alive(gone)
        assert list(cat.arguments["tensors"]) == [y, *members]


def test_closing_what_a_refresh_replaced_leaves_the_executor_open(stream: Stream) -> None:
    x, y, out = upload(X), upload(X * 2), zeros()
    with adder(x, y, out) as add:
        add.execute(stream)
        add.set_input(0, y)
        x.close()
        add.execute(stream)
    np.testing.assert_array_equal(out.numpy(), X * 4)


def test_in_place_operators_are_refreshed_as_input_and_as_output(stream: Stream) -> None:
    one, a, b, c = upload(np.ones_like(X)), upload(X), upload(X * 2), upload(X * 3)
    with Executor("aclnnInplaceAdd", a, one, 1.0, repeatable=True) as add:
        add.set_input(0, b)
        add.execute(stream)
        add.set_output(0, c)
        add.execute(stream)
        for tensor, wanted in ((a, X), (b, X * 2 + 1), (c, X * 3 + 1)):
            np.testing.assert_array_equal(tensor.numpy(), wanted)


def test_views_are_refreshed_by_views_of_the_same_layout(stream: Stream) -> None:
    x, y = upload(X), upload(X * 2)
    out = Tensor.zeros((4, 2))
    with adder(x.T[:, 1:], x.T[:, 1:], out) as add:
        add.set_input(0, y.T[:, 1:])
        add.execute(stream)
        np.testing.assert_array_equal(out.numpy(), X.T[:, 1:] * 3)
        for wrong, what in ((y.T, "shape"), (y[1:].T[:, :2].T.reshape(4, 2), "strides"),
                            (Tensor.zeros((4, 2), np.int32), "strides"), (Tensor.zeros((4, 2), np.float16), "strides")):
            with pytest.raises(ValueError, match=f"self: only the address can change, but the {what}"):
                add.set_input(0, wrong)


@pytest.mark.parametrize(("make", "what"), [
    (lambda: Tensor.zeros((4, 3)), "shape"), (lambda: Tensor.zeros((3, 4), np.int32), "dtype"),
    (lambda: Tensor.zeros((3, 4), format="NCHW"), "format"), (lambda: Tensor.zeros((4, 3)).T, "strides")])
def test_only_the_address_can_change(make: Callable[[], Tensor], what: str, stream: Stream) -> None:
    x, out = upload(X), zeros()
    with adder(x, x, out) as add:
        for setter in (add.set_input, add.set_output, add.set_tensor):
            with pytest.raises(ValueError, match=f"the {what} was .* and is .*make another executor"):
                setter(0, make())
        add.execute(stream)  # nothing changed
        np.testing.assert_array_equal(out.numpy(), X * 2)


def test_a_refresh_needs_an_aligned_address() -> None:
    rows = upload(np.zeros((4, 3), np.float32))
    with Executor("aclnnNeg", rows[0], Tensor.zeros((3,)), repeatable=True) as neg, \
            pytest.raises(ValueError, match="aligned to 32 bytes"):
        neg.set_input(0, rows[1])


@pytest.mark.parametrize("wrong", [np.zeros_like(X), None, 5, "x"])
def test_a_refresh_takes_a_tensor(wrong: Any) -> None:
    x = upload(X)
    with adder(x, x, zeros()) as add, pytest.raises(TypeError, match="self takes a Tensor"):
        add.set_input(0, wrong)


def test_a_refresh_refuses_a_closed_tensor() -> None:
    x, closed = upload(X), upload(X)
    closed.close()
    with adder(x, x, zeros()) as add, pytest.raises(pyacl.ClosedError):
        add.set_input(0, closed)


def test_a_one_shot_executor_is_not_refreshed() -> None:
    x = upload(X)
    with Executor("aclnnAdd", x, x, 1.0, zeros()) as once:
        for refresh in (once.set_input, once.set_output, once.set_tensor):
            with pytest.raises(pyacl.OperatorError, match="repeatable=True") as caught:
                refresh(0, x)
            assert caught.value.code == INNER


@pytest.mark.parametrize(("setter", "count"), [("set_input", 2), ("set_output", 1), ("set_tensor", 3)])
def test_indexes_out_of_range(setter: str, count: int, stream: Stream) -> None:
    x, out = upload(X), zeros()
    with adder(x, x, out) as add:
        refresh = getattr(add, setter)
        for index in (count, count + 1, 1 << 40, -1):
            with pytest.raises(pyacl.InvalidArgumentError, match=f"there are {count}\n.*aclnnAdd") as caught:
                refresh(index, x)
            assert caught.value.code == INVALID == 161002
        refresh(np.int64(count - 1), zeros())
        add.execute(stream)


def test_tensors_that_were_none_in_the_first_phase(stream: Stream) -> None:
    x, out, weight = upload(X), zeros(), upload(np.ones(4, np.float32))
    with Executor("aclnnLayerNorm", x, [4], None, None, 1e-5, out, None, None, repeatable=True) as norm:
        for setter, index in (("set_input", 1), ("set_input", 2), ("set_output", 1), ("set_tensor", 1),
                              ("set_tensor", 5)):
            with pytest.raises(pyacl.InvalidArgumentError, match="was None when this was planned") as caught:
                getattr(norm, setter)(index, weight)
            assert caught.value.code == INVALID
        norm.set_tensor(3, out)  # they count all the same
        norm.execute(stream)
    wanted = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-5, atol=1e-6)


# Members of tensor lists

def test_members_by_flattened_index(stream: Stream) -> None:
    """In aclnnForeachAddList two lists and a tensor are five inputs, and the list of outputs two outputs."""
    a, b = ([upload(X * k) for k in ks] for ks in ((1, 2), (10, 20)))
    out, new = [zeros(), zeros()], [upload(X * 100), zeros()]
    alpha = upload(np.ones(1, np.float32))
    with Executor("aclnnForeachAddList", a, b, alpha, out, repeatable=True) as add:
        add.set_input(1, new[0])
        add.set_input(2, new[0])
        add.set_input(4, upload(np.full(1, 2, np.float32)))
        add.set_output(1, new[1])
        add.execute(stream)
        np.testing.assert_array_equal(out[0].numpy(), X * 201)
        np.testing.assert_array_equal(new[1].numpy(), X * 140)
        assert not out[1].numpy().any()
        add.set_tensor(3, a[0])
        add.set_tensor(6, out[1])
        add.execute(stream)
        np.testing.assert_array_equal(out[1].numpy(), X * 102)
        for setter, count in ((add.set_input, 5), (add.set_output, 2), (add.set_tensor, 7)):
            with pytest.raises(pyacl.InvalidArgumentError, match=f"there are {count}"):
                setter(count, a[0])


def test_members_by_prototype_index(stream: Stream) -> None:
    a, b = ([upload(X * k) for k in ks] for ks in ((1, 2), (10, 20)))
    out, new = [zeros(), zeros()], [upload(X * 100), zeros()]
    alpha = upload(np.ones(1, np.float32))
    with Executor("aclnnForeachAddList", a, b, alpha, out, repeatable=True) as add:
        add.set_dynamic_input(0, 1, new[0])
        add.set_dynamic_input(1, 0, new[0])
        add.set_dynamic_output(0, 1, new[1])
        add.execute(stream)
        np.testing.assert_array_equal(out[0].numpy(), X * 101)
        np.testing.assert_array_equal(new[1].numpy(), X * 120)
        add.set_dynamic_tensor(0, 0, new[0])
        add.set_dynamic_tensor(3, 1, out[1])
        add.execute(stream)
        np.testing.assert_array_equal(out[0].numpy(), X * 200)
        np.testing.assert_array_equal(out[1].numpy(), X * 120)


def test_both_members_of_a_list_at_once(stream: Stream) -> None:
    """As on the page of aclSetAclOpExecutorRepeatable."""
    first, second, third, address = (upload(X * k) for k in (1, 2, 3, 50))
    out = zeros(9, 4)
    with Executor("aclnnCat", [first, second, third], 0, out, repeatable=True) as cat:
        cat.set_dynamic_input(0, 0, address)
        cat.set_dynamic_input(0, 1, address)
        cat.execute(stream)
        np.testing.assert_array_equal(out.numpy(), np.concatenate([X * 50, X * 50, X * 3]))


def test_indexes_of_members_out_of_range() -> None:
    x, out = upload(X), zeros(6, 4)
    with Executor("aclnnCat", [x, x], 0, out, repeatable=True) as cat:
        for setter, index, member, why in (
                ("set_dynamic_input", 1, 0, "index 1 is out of range: there are 1"),
                ("set_dynamic_input", -1, 0, "out of range"),
                ("set_dynamic_input", 0, 2, "member 2 is out of range: tensors has 2"),
                ("set_dynamic_input", 0, -1, "member -1 is out of range"),
                ("set_dynamic_output", 0, 0, "out is not a tensor list"),
                ("set_dynamic_output", 1, 0, "out of range"),
                ("set_dynamic_tensor", 1, 0, "out is not a tensor list"),
                ("set_dynamic_tensor", 2, 0, "out of range")):
            with pytest.raises(pyacl.InvalidArgumentError, match=why) as caught:
                getattr(cat, setter)(index, member, x)
            assert caught.value.code == INVALID


def test_queued_launches_keep_the_old_members(stream: Stream, gate: Gate) -> None:
    out, other = zeros(6, 4), zeros(6, 4)
    with Executor("aclnnCat", [upload(X), upload(X * 2)], 0, out, repeatable=True) as cat:
        cat.launch(stream)
        cat.set_dynamic_input(0, 0, upload(X * 3))
        cat.set_dynamic_input(0, 1, upload(X * 4))
        cat.set_output(0, other)
        cat.launch(stream)
        gc.collect()
        others = [upload(X * 9) for _ in range(4)]
        gate.open()
        stream.synchronize()
        assert others
    np.testing.assert_array_equal(out.numpy(), np.concatenate([X, X * 2]))
    np.testing.assert_array_equal(other.numpy(), np.concatenate([X * 3, X * 4]))


def test_a_users_tensor_list_is_shared_by_executors(stream: Stream) -> None:
    """Each has its own copy of the list, so a refresh in one is none in the other, and closing one leaves it whole."""
    with TensorList([upload(X), upload(X * 2)]) as members:
        out = zeros(6, 4)
        with Executor("aclnnCat", members, 0, out, repeatable=True) as one, \
                Executor("aclnnCat", members, 0, out, repeatable=True) as two:
            one.set_dynamic_input(0, 0, upload(X * 9))
            two.execute(stream)
            np.testing.assert_array_equal(out.numpy(), np.concatenate([X, X * 2]))
            one.execute(stream)
            np.testing.assert_array_equal(out.numpy(), np.concatenate([X * 9, X * 2]))
        assert [t.numpy()[0, 1] for t in members] == [1, 2]


# Workspace

def softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def test_workspace_is_allocated_once_for_each_stream(stream: Stream) -> None:
    x, out = upload(X), zeros()
    with Executor("aclnnSoftmax", x, -1, out, repeatable=True) as first, \
            Executor("aclnnSoftmax", x, -1, out, repeatable=True) as second:
        assert first.workspace_size > 0
        first.execute(stream)
        free, _ = pyacl.mem_info()
        for executor in (first, second) * 10:
            executor.launch(stream)
        assert pyacl.mem_info()[0] == free
        with Stream() as other:
            first.launch(other)
            assert pyacl.mem_info()[0] < free  # its work may run beside the first stream's
            other.synchronize()
        assert pyacl.mem_info()[0] == free
        stream.synchronize()
    np.testing.assert_allclose(out.numpy(), softmax(X), rtol=1e-6)


def test_workspace_grows_and_the_old_one_outlives_its_work(stream: Stream, gate: Gate) -> None:
    x, out, product = upload(X), zeros(), zeros(3, 3)
    with Executor("aclnnSoftmax", x, -1, out, repeatable=True) as small, \
            Executor("aclnnMm", x, x.T, product, 1, repeatable=True) as large:
        assert 0 < small.workspace_size < large.workspace_size
        small.launch(stream)
        large.launch(stream)
        # What is allocated now must not lie where the first launch is still going to write.
        taken = [upload(np.full(small.workspace_size, 7, np.uint8)) for _ in range(8)]
        small.launch(stream)
        gate.open()
        stream.synchronize()
        np.testing.assert_allclose(out.numpy(), softmax(X), rtol=1e-6)
        np.testing.assert_allclose(product.numpy(), X @ X.T)
        assert all((t.numpy() == 7).all() for t in taken)


def test_workspace_goes_with_its_stream() -> None:
    x, out = upload(X), zeros()
    free, _ = pyacl.mem_info()
    for _ in range(3):
        with Stream() as stream:
            Executor("aclnnSoftmax", x, -1, out).launch(stream)
            assert pyacl.mem_info()[0] < free
    assert pyacl.mem_info()[0] == free
    np.testing.assert_allclose(out.numpy(), softmax(X), rtol=1e-6)


def test_an_operator_without_workspace() -> None:
    with Executor("aclnnNeg", upload(X), zeros(), repeatable=True) as neg:
        assert neg.workspace_size == 0


# What it says of itself

def test_arguments_and_repr() -> None:
    x, out = upload(X), zeros()
    with adder(x, x, out) as add:
        assert list(add.arguments) == ["self", "other", "alpha", "out"]
        assert add.arguments["self"] is x
        assert add.arguments["alpha"].value == 1
        assert add.name == "aclnnAdd"
        assert add.repeatable
        assert repr(add) == "<pyacl.Executor aclnnAdd repeatable>"
    assert repr(add) == "<pyacl.Executor closed>"


def test_a_task_that_fails_is_told_by_the_synchronise(device: Any) -> None:
    """An address that is freed behind pyacl's back: a fault on the device, not a crash of the program."""
    code = """
    with pyacl.Device(0), pyacl.Stream() as stream:
        x, out = pyacl.Tensor.zeros((4,)), pyacl.Tensor.zeros((4,))
        size, executor = pyacl.ffi.new("uint64_t *"), pyacl.ffi.new("aclOpExecutor **")
        address = pyacl.ffi.new("void **")
        pyacl.errors.check(pyacl.lib.aclrtMalloc(address, 4096, 0), "aclrtMalloc")
        pyacl.errors.check(pyacl.lib.aclSetRawTensorAddr(x.handle, address[0]), "aclSetRawTensorAddr")
        pyacl.errors.check(pyacl.lib.aclrtFree(address[0]), "aclrtFree")
        pyacl.Executor("aclnnNeg", x, out).launch(stream)
        try:
            stream.synchronize()
        except pyacl.DeviceFaultError as error:
            print(error.name)
    """
    if os.environ["PYACL_BACKEND"] == "native" and "ASCEND_OPP_PATH" not in os.environ:
        pytest.skip("undefined on a device")
    assert python(code).strip() == "ACL_ERROR_RT_AICORE_EXCEPTION"


# Threads

def test_executors_of_several_threads_run_beside_each_other(device: Any) -> None:
    def work(k: int, found: dict[int, Any]) -> None:
        device.set_current()
        one, total = upload(np.full_like(X, k)), zeros()
        with Stream() as stream, Executor("aclnnInplaceAdd", total, one, 1.0, repeatable=True) as add:
            for _ in range(50):
                add.launch(stream)
            stream.synchronize()
            found[k] = total.numpy()

    found: dict[int, Any] = {}
    threads = [threading.Thread(target=work, args=(k, found)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        np.testing.assert_array_equal(found[k], np.full_like(X, 50 * k))


def test_made_in_one_thread_and_launched_in_another(stream: Stream) -> None:
    x, out = upload(X), zeros()
    for repeatable, target in itertools.product((True, False), (stream, None)):
        out.copy_(X * 0)
        executor = Executor("aclnnAdd", x, x, 1.0, out, repeatable=repeatable)
        in_thread(functools.partial(executor.execute, target))
        np.testing.assert_array_equal(out.numpy(), X * 2)
        executor.close()
