"""What all classes share: closing once and in order, being forgotten, protocols, threads, fork and exit."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from typing import Any, Callable, cast

import numpy as np
import pytest
from helpers import Gate, alive, in_thread, python, run, upload, waits_for_work

import pyacl


def _tensor() -> Any:
    return upload(np.ones(4, np.float32))


def _executor(**options: Any) -> Any:
    return pyacl.Executor("aclnnAdd", _tensor(), _tensor(), 1, _tensor(), **options)


# Every class of this part, and how one is made on the current device.
MAKERS: dict[str, Callable[[], Any]] = {
    "Device": lambda: pyacl.Device(0),
    "Context": lambda: pyacl.Context(0),
    "Stream": pyacl.Stream,
    "Event": pyacl.Event,
    "DeviceBuffer": lambda: pyacl.DeviceBuffer(64),
    "HostBuffer": lambda: pyacl.HostBuffer(64),
    "Tensor": _tensor,
    "TensorList": lambda: pyacl.TensorList([_tensor(), _tensor()]),
    "Scalar": lambda: pyacl.Scalar(1.5),
    "ScalarList": lambda: pyacl.ScalarList([1.5, 2.5]),
    "IntArray": lambda: pyacl.IntArray([1, 2]),
    "FloatArray": lambda: pyacl.FloatArray([1, 2]),
    "BoolArray": lambda: pyacl.BoolArray([True, False]),
    "Executor": lambda: _executor(repeatable=True),
}
# Those for which forgetting to close deserves a warning: the others are values, or go with what they belong to.
WARN = {"Device", "Context", "Stream", "Event", "DeviceBuffer", "HostBuffer", "Executor"}


@pytest.fixture(params=sorted(MAKERS))
def name(request: pytest.FixtureRequest, device: Any) -> Any:
    device.set_current()
    yield request.param
    device.set_current()


@pytest.fixture
def one(name: str) -> Any:
    with MAKERS[name]() as found:
        yield found


def test_the_list_is_whole() -> None:
    exported = {n for module in ("device", "context", "stream", "event", "memory", "tensor", "scalar", "arrays",
                                 "executor")
                for n in pyacl._EXPORTS[module] if isinstance(getattr(pyacl, n), type)
                and issubclass(getattr(pyacl, n), pyacl.Resource)}
    assert exported == set(MAKERS)


def test_protocols(name: str, one: Any) -> None:
    assert type(one) is getattr(pyacl, name)
    assert repr(one).startswith(f"<pyacl.{name}")
    assert repr(one).endswith(">")
    assert one == one
    with MAKERS[name]() as other:
        assert one != other
        assert len({one, other, one}) == 2
    assert weakref.ref(one)() is one
    assert not hasattr(one, "__dict__")
    for refuse in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=f"cannot pickle or copy a pyacl.{name}"):
            refuse(one)
    with pytest.raises(AttributeError, match=f"'{name}' object has no attribute 'nothing'"):
        getattr(one, "nothing")  # noqa: B009


def test_closing(name: str) -> None:
    one = MAKERS[name]()
    assert not one.closed
    assert one.handle is not None
    with one as same:
        assert same is one
    assert one.closed
    one.close()
    assert repr(one) == f"<pyacl.{name} closed>"
    with pytest.raises(pyacl.ClosedError, match="closed"):
        one.handle  # noqa: B018
    with pytest.raises(ValueError), one:
        pass


def test_being_forgotten(name: str) -> None:
    one = MAKERS[name]()
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del one
        gc.collect()
    found = [w for w in seen if issubclass(w.category, ResourceWarning)]
    assert len(found) == (name in WARN), [str(w.message) for w in found]
    if found:
        assert "was never closed" in str(found[0].message)
        assert name in str(found[0].message)
        assert found[0].source is not None


def test_a_forgotten_device() -> None:
    done = python("""
        import gc, warnings
        import pyacl
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            device = pyacl.Device(0)
            stream, x = pyacl.Stream(), pyacl.Tensor.zeros((4, 4))
            for queue in (stream, pyacl.Stream.default()):  # both get a workspace
                pyacl.ops.aclnnMm(x, x, pyacl.Tensor.empty((4, 4)), 0, stream=queue)
                queue.synchronize()
            del device, x, queue
            gc.collect()
            print(len(seen))  # the stream holds it
            stream.close()
            del stream
            gc.collect()
            print([str(w.message) for w in seen if w.category is ResourceWarning])
            device = pyacl.Device(0)
            print(device.memory.total - device.memory.free, len(pyacl.resource.flights))
            device.close()
    """)
    assert done.splitlines() == ["0", "['<pyacl.Device 0> was never closed']", "0 0"]


def test_a_constructor_that_failed_leaves_nothing(name: str) -> None:
    wrong: dict[str, Callable[[], Any]] = {
        "Device": lambda: pyacl.Device(99), "Context": lambda: pyacl.Context(99),
        "Stream": lambda: pyacl.Stream(flags="nothing"), "Event": lambda: pyacl.Event(sync=False, timing=False),
        "DeviceBuffer": lambda: pyacl.DeviceBuffer(1 << 50), "HostBuffer": lambda: pyacl.HostBuffer(-1),
        "Tensor": lambda: pyacl.Tensor.empty((1 << 50,)), "TensorList": lambda: pyacl.TensorList([cast(Any, 3)]),
        "Scalar": lambda: pyacl.Scalar(cast(Any, "a")), "ScalarList": lambda: pyacl.ScalarList(["a"]),
        "IntArray": lambda: pyacl.IntArray([1.5]), "FloatArray": lambda: pyacl.FloatArray("ab"),
        "BoolArray": lambda: pyacl.BoolArray([2]),
        "Executor": lambda: pyacl.Executor("aclnnAdd", _tensor(), _tensor(), 1, None),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError, MemoryError)):
            wrong[name]()
        gc.collect()


def test_children_close_before_their_context(device: Any) -> None:
    device.set_current()
    context = pyacl.Context(0)
    stream, event, buffer = pyacl.Stream(), pyacl.Event(), pyacl.DeviceBuffer(64)
    tensor, executor = _tensor(), _executor(repeatable=True)
    context.close()
    assert all(r.closed for r in (stream, event, buffer, executor))
    with pytest.raises(pyacl.ClosedError):
        tensor.numpy()
    device.set_current()


def test_dropping_everything_releases_in_the_right_order(device: Any) -> None:
    device.set_current()
    gc.collect()  # what other tests dropped in circles
    before = device.memory.free
    executor = _executor()
    del executor
    executor = _executor(repeatable=True)
    executor.close()
    gc.collect()
    assert device.memory.free == before


def test_closing_a_tensor_closes_what_could_still_run_on_it(device: Any, stream: Any) -> None:
    x, y, out = _tensor(), _tensor(), _tensor()
    executor = pyacl.Executor("aclnnAdd", x, y, 1, out, repeatable=True)
    x.close()
    assert executor.closed
    with pytest.raises(pyacl.ClosedError, match="something that it uses was"):
        executor.launch(stream)


def test_closing_looks_only_at_what_uses_it(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others are open, and after they were looked at once."""
    x, y = _tensor(), _tensor()
    views, buffers = [x[:2] for _ in range(3)], [pyacl.DeviceBuffer(64) for _ in range(3)]
    many = [pyacl.Executor("aclnnAdd", x, y, 1, _tensor(), repeatable=True) for _ in range(5)]
    buffers.pop().close()
    asked: list[Any] = []
    uses = pyacl.Executor._uses

    def counted(executor: Any) -> Any:
        asked.append(executor)
        return uses(executor)

    monkeypatch.setattr(pyacl.Executor, "_uses", counted)
    for one in (*buffers, *views, many.pop()):
        one.close()
    assert not asked
    one = many.pop()
    one.set_input(0, y)  # what it uses has changed
    pyacl.DeviceBuffer(64).close()
    assert asked == [one]
    x.close()
    assert [e.closed for e in (one, *many)] == [False, True, True, True]
    y.buffer.close()
    assert one.closed
    assert asked == [one]
    assert not any(pyacl.resource._unsorted or table.get(id(r)) for table in (
        pyacl.resource._users, pyacl.resource._listed) for r in (x, y, one, *views, *many))


def test_a_member_of_a_list_and_a_view_close_what_uses_them(device: Any) -> None:
    x, y, out = _tensor(), _tensor(), pyacl.Tensor.zeros(6)
    members = pyacl.TensorList([x[1:3], y])
    cat = pyacl.Executor("aclnnCat", members, 0, out, repeatable=True)
    other = pyacl.Executor("aclnnNeg", y, _tensor(), repeatable=True)
    x.close()
    assert (members.closed, cat.closed, other.closed) == (True, True, False)
    other.close()


# What is in flight

def test_closing_waits_for_the_work_that_uses_it(device: Any, stream: Any) -> None:
    with pyacl.HostBuffer.from_numpy(np.arange(8, dtype=np.uint8)) as source, pyacl.DeviceBuffer(8) as target:
        gate = Gate(stream)
        pyacl.memcpy_async(target, source, stream)
        assert waits_for_work(gate, source.close)
        out = np.empty(8, np.uint8)
        pyacl.memcpy(out, target)
        assert np.array_equal(out, np.arange(8))


def test_dropped_objects_live_as_long_as_the_work(device: Any, stream: Any) -> None:
    gate = Gate(stream)
    x, y, out = upload(np.arange(4, dtype=np.float32)), _tensor(), pyacl.Tensor.zeros(4)
    pyacl.ops.aclnnAdd(x, y, 2.0, out, stream=stream)
    gone = weakref.ref(x)
    del x, y
    gc.collect()
    # New memory must not be that of the tensors which queued work still reads.
    others = [pyacl.Tensor.full(4, 99.0) for _ in range(8)]
    assert gone() is not None
    gate.open()
    stream.synchronize()
    assert np.array_equal(out.numpy(), np.arange(4) + 2)
    assert not alive(gone)
    del others
    gate.close()


def test_a_timed_out_synchronise_keeps_what_is_used(device: Any, stream: Any) -> None:
    gate = Gate(stream)
    x = _tensor()
    out = pyacl.Tensor.zeros(4)
    pyacl.ops.aclnnAdd(x, x, 1, out, stream=stream)
    gone = weakref.ref(x)
    del x
    with pytest.raises(pyacl.SyncTimeoutError):
        stream.synchronize(timeout=0.02)
    assert alive(gone)
    gate.open()
    stream.synchronize()
    assert not alive(gone)
    gate.close()


def test_a_wait_that_began_earlier_lets_go_of_nothing_that_came_later(device: Any, stream: Any) -> None:
    class Thing:
        pass

    flight = stream.flight
    for _ in range(20):
        stream.hold([1])
        earlier = flight.begin()  # one thread begins to wait,
        flight.end(flight.begin(), 0)  # those of another one are over first,
        stream.hold([2])
        flight.end(flight.begin(), 0)
        thing = Thing()
        gone = weakref.ref(thing)
        stream.hold(thing)
        del thing
        flight.begin()  # and its next one is not, when
        flight.end(earlier, 0)  # that of the first is
        assert gone() is not None
        stream.synchronize()
        assert gone() is None


def test_hold_keeps_any_object_until_the_next_synchronise(device: Any, stream: Any) -> None:
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    unhashable = [thing]
    stream.hold(unhashable)
    del thing, unhashable
    assert alive(gone)
    stream.synchronize()
    assert not alive(gone)


def test_hold_keeps_each_of_equal_objects(device: Any, stream: Any) -> None:
    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    one, two = Equal(), Equal()
    refs = weakref.ref(one), weakref.ref(two)
    stream.hold(one)
    stream.hold(two)
    stream.hold(memoryview(bytearray(2)))
    del one, two
    gc.collect()
    assert [r() is not None for r in refs] == [True, True]
    stream.synchronize()
    assert [r() is None for r in refs] == [True, True]


# Threads

def test_a_thread_without_context_is_bound_by_the_object_it_uses(device: Any, stream: Any) -> None:
    x, y, out = _tensor(), _tensor(), _tensor()
    add = pyacl.Executor("aclnnAdd", x, y, 1, out, repeatable=True)
    buffer, event, array = pyacl.DeviceBuffer(8), pyacl.Event(), np.arange(8, dtype=np.uint8)
    uses: list[Callable[[], Any]] = [
        lambda: stream.synchronize(), lambda: stream.synchronize(timeout=1), lambda: stream.query(),
        lambda: stream.wait(event), lambda: stream.record(event), lambda: event.record(stream),
        lambda: event.query(), lambda: event.synchronize(), lambda: add.launch(stream),
        lambda: stream.call(lambda: None), lambda: buffer.copy_from(array), lambda: buffer.copy_to(array),
        lambda: pyacl.memcpy_async(buffer, array, stream), lambda: pyacl.memset(buffer, 1),
        lambda: pyacl.memset(buffer, 2, stream=stream), lambda: x.numpy(), lambda: x.numpy(stream=stream),
        lambda: pyacl.Executor("aclnnAdd", x, y, 1, out).launch(stream),
        lambda: pyacl.ops.aclnnAdd(x, y, 1, out, stream=stream),
        lambda: stream.id, lambda: stream.flags, lambda: stream.priority, lambda: device.memory,
        lambda: device.synchronize(), lambda: event.id,
        lambda: pyacl.memcpy_2d(buffer, 4, array, 4, 4, 2), lambda: add.launch(), lambda: event.record(),
    ]
    for use in uses:
        in_thread(use)
    stream.synchronize()
    assert np.array_equal(out.numpy(), np.full(4, 2, np.float32))
    for resource in (add, buffer, event):
        in_thread(resource.close)


def test_making_something_in_a_thread_without_context_says_what_to_do(device: Any) -> None:
    for make in (pyacl.Stream, pyacl.Event, lambda: pyacl.DeviceBuffer(8), pyacl.Context.current):
        with pytest.raises(pyacl.ContextError) as caught:
            in_thread(make)
        assert "set_current" in str(caught.value)
        assert "107002" in str(caught.value)

    def bound() -> None:
        device.set_current()
        with pyacl.Stream() as own:
            own.synchronize()

    in_thread(bound)


def test_closing_in_other_threads_at_once_releases_once(device: Any) -> None:
    import threading

    for _ in range(20):
        buffer = pyacl.DeviceBuffer(64)
        errors: list[BaseException] = []

        def close(buffer: Any = buffer, errors: list[BaseException] = errors) -> None:
            try:
                buffer.close()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert buffer.closed


# Exit and fork

EVERYTHING = """
    device = pyacl.Device(0)
    stream, event, context = pyacl.Stream(), pyacl.Event(), pyacl.Context.current()
    x = pyacl.Tensor.from_numpy(np.arange(4, dtype=np.float32))
    out, host = pyacl.Tensor.empty(4), pyacl.HostBuffer(64)
    add = pyacl.Executor("aclnnAdd", x, x, 1, out, repeatable=True)
    once = pyacl.Executor("aclnnAdd", x, x, 1, out)
    cache = pyacl.ops.cache(4)
    pyacl.ops.aclnnMul(x, x, out, stream=stream)
    pyacl.ops.aclnnMm(x.reshape(2, 2), x.reshape(2, 2), pyacl.Tensor.empty((2, 2)), 0)  # with a workspace
    add.launch(stream)
    stream.call(print, "ran")
    stream.record(event)
    pyacl.memcpy_async(host, x, stream)
    numbers = host.numpy
"""


def test_exit_with_everything_open_is_quiet_and_lets_queued_work_end() -> None:
    assert python(EVERYTHING) == "ran\n"


def test_exit_with_everything_in_a_cycle() -> None:
    assert python(EVERYTHING + """
    class Cycle: pass
    cycle = Cycle(); cycle.me = cycle; cycle.all = dict(globals())
    """) == "ran\n"


def test_exit_by_an_exception_shows_that_exception_only() -> None:
    done = run("import numpy as np, pyacl\n" + "\n".join(x.strip() for x in EVERYTHING.splitlines()) + "\n1/0\n")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert done.stderr.count("Error") == 1


def test_exit_from_a_thread_that_still_runs() -> None:
    assert python(EVERYTHING + """
    import threading, time
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    """) == "ran\n"


def test_finalize_closes_everything_and_init_may_follow() -> None:
    assert python(EVERYTHING + """
    pyacl.finalize()
    print(stream.closed, x.closed, add.closed, device.closed)
    with pyacl.Device(0): print(pyacl.Tensor.zeros(2).numpy())
    """) == "ran\nTrue True True True\n[0. 0.]\n"


def test_after_a_fork_every_object_says_so() -> None:
    out = python(EVERYTHING + """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, from 3.12 on: numpy's BLAS has threads
    stream.synchronize()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        for use in (stream.synchronize, out.numpy, lambda: add.launch(stream), event.query, lambda: host.handle,
                    pyacl.Stream, lambda: pyacl.Device(0), lambda: pyacl.ops.aclnnAdd(x, x, 1, out)):
            try: use()
            except pyacl.ForkError as error: print("spawn" in str(error))
            except BaseException as error: print(type(error), error)
        sys.stdout.flush()
        sys.exit(0)      # and the child's exit hooks close nothing of the parent's
    assert os.waitpid(child, 0)[1] == 0
    print(out.numpy())
    """)
    assert out == "ran\n" + "True\n" * 8 + "[0. 2. 4. 6.]\n"


def test_a_pool_of_forked_workers_fails_clearly_instead_of_hanging() -> None:
    assert python("""
    import multiprocessing
    def work(n):
        try: return pyacl.Tensor.full(2, n).numpy().sum()
        except pyacl.ForkError as error: return "ForkError"
    with pyacl.Device(0):
        import warnings; warnings.simplefilter("ignore")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(work, range(2)))
    """) == "['ForkError', 'ForkError']\n"
