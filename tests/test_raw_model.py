"""Models as C programs use them: the call sequences of the reference, through `pyacl.lib` alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

import models
import numpy as np
import pytest
from raw import NULL, current, make, ok, out, runtime, stream

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]

X = np.random.default_rng(3).integers(-9, 9, (4, 64)).astype(np.float32)
Y, TOP = models.dense_reference(X)
H2D, D2H = lib.ACL_MEMCPY_HOST_TO_DEVICE, lib.ACL_MEMCPY_DEVICE_TO_HOST


@pytest.fixture
def om(tmp_path: Path) -> Path:
    return models.compiled(models.dense(), tmp_path / "dense.om")


@pytest.fixture
def model(om: Path) -> Iterator[int]:
    number = int(out("uint32_t *", lib.aclmdlLoadFromFile, os.fsencode(om), first=False))
    yield number
    ok(lib.aclmdlUnload(number))


def device(nbytes: int) -> Any:
    return out("void **", lib.aclrtMalloc, nbytes, lib.ACL_MEM_MALLOC_HUGE_FIRST)


def fetch(address: Any, like: np.ndarray) -> np.ndarray:
    found = np.empty_like(like)
    ok(lib.aclrtMemcpy(ffi.from_buffer(found), found.nbytes, address, found.nbytes, D2H))
    return found


def dataset(*buffers: tuple[Any, int]) -> Any:
    made = lib.aclmdlCreateDataset()
    for address, nbytes in buffers:
        ok(lib.aclmdlAddDatasetBuffer(made, lib.aclCreateDataBuffer(address, nbytes)))
    return made


def destroy(made: Any) -> None:
    buffers = [lib.aclmdlGetDatasetBuffer(made, i) for i in range(lib.aclmdlGetDatasetNumBuffers(made))]
    ok(lib.aclmdlDestroyDataset(made))
    for buffer in buffers:
        ok(lib.aclDestroyDataBuffer(buffer))


@pytest.fixture
def given() -> Iterator[Any]:
    """The input dataset, filled."""
    address = device(X.nbytes)
    ok(lib.aclrtMemcpy(address, X.nbytes, ffi.from_buffer(X), X.nbytes, H2D))
    made = dataset((address, X.nbytes))
    yield made
    destroy(made)
    ok(lib.aclrtFree(address))


@pytest.fixture
def results() -> Iterator[Any]:
    """The output dataset, with memory."""
    memory = [device(Y.nbytes), device(TOP.nbytes)]
    made = dataset((memory[0], Y.nbytes), (memory[1], TOP.nbytes))
    yield made
    destroy(made)
    for address in memory:
        ok(lib.aclrtFree(address))


def read(results: Any) -> tuple[np.ndarray, np.ndarray]:
    y, top = (lib.aclGetDataBufferAddr(lib.aclmdlGetDatasetBuffer(results, i)) for i in range(2))
    return fetch(y, Y), fetch(top, TOP)


def test_execute_v2_as_its_page_has_it(model: int, given: Any, stream: Any) -> None:
    """Create the options, set each, execute, destroy; outputs that the runtime allocates are freed and reset by hand."""
    handle = lib.aclmdlCreateExecConfigHandle()
    for attribute in (lib.ACL_MDL_STREAM_SYNC_TIMEOUT, lib.ACL_MDL_EVENT_SYNC_TIMEOUT):
        ok(lib.aclmdlSetExecConfigOpt(handle, attribute, ffi.new("int32_t *", 5000), 4))
    results = dataset((NULL, 0), (NULL, 0))
    free = out("size_t *", lambda cell: lib.aclrtGetMemInfo(lib.ACL_HBM_MEM, cell, ffi.new("size_t *")))
    for where in (stream, NULL, stream):
        ok(lib.aclmdlExecuteV2(model, given, results, where, handle))
        y, top = read(results)
        np.testing.assert_array_equal(y, Y)
        np.testing.assert_array_equal(top, TOP)
        for i, nbytes in enumerate((Y.nbytes, TOP.nbytes)):
            buffer = lib.aclmdlGetDatasetBuffer(results, i)
            assert lib.aclGetDataBufferSizeV2(buffer) == nbytes
            ok(lib.aclrtFree(lib.aclGetDataBufferAddr(buffer)))
            ok(lib.aclUpdateDataBuffer(buffer, NULL, 0))
    assert out("size_t *", lambda cell: lib.aclrtGetMemInfo(lib.ACL_HBM_MEM, cell, ffi.new("size_t *"))) == free
    ok(lib.aclmdlDestroyExecConfigHandle(handle))
    assert lib.aclmdlExecuteV2(model, given, results, stream, handle) != 0
    destroy(results)


def test_an_output_that_was_not_reset_is_written_again(model: int, given: Any) -> None:
    results = dataset((NULL, 0), (NULL, 0))
    ok(lib.aclmdlExecute(model, given, results))
    before = [lib.aclGetDataBufferAddr(lib.aclmdlGetDatasetBuffer(results, i)) for i in range(2)]
    ok(lib.aclmdlExecute(model, given, results))
    assert [lib.aclGetDataBufferAddr(lib.aclmdlGetDatasetBuffer(results, i)) for i in range(2)] == before
    destroy(results)
    for address in before:
        ok(lib.aclrtFree(address))


def test_execute_async_as_its_page_has_it(model: int, given: Any, results: Any,
                                          make: Callable[..., Any]) -> None:
    """Two streams at once are refused; one after the other they are not."""
    one, two = make("stream"), make("stream")
    ok(lib.aclmdlExecuteAsync(model, given, results, one))
    refused = lib.aclmdlExecuteAsync(model, given, results, two) or lib.aclrtSynchronizeStream(two)
    assert refused == lib.ACL_ERROR_RT_MODEL_EXECUTE or os.environ.get("PYACL_EMULATOR_SCHEDULE") in ("threaded",
                                                                                                      "inline")
    ok(lib.aclrtSynchronizeStream(one))
    ok(lib.aclmdlExecuteAsync(model, given, results, two))
    ok(lib.aclrtSynchronizeStream(two))
    np.testing.assert_array_equal(read(results)[0], Y)


def test_threads_that_lock_share_a_model(model: int, given: Any, results: Any, stream: Any) -> None:
    """lock, refresh the input on the stream, execute on the stream, unlock."""
    lock, context = threading.Lock(), out("aclrtContext *", lib.aclrtGetCurrentContext)
    address = lib.aclGetDataBufferAddr(lib.aclmdlGetDatasetBuffer(given, 0))
    wrong: list[Any] = []

    def work(number: int) -> None:
        try:
            ok(lib.aclrtSetCurrentContext(context))
            x = X + number
            for _ in range(5):
                with lock:
                    ok(lib.aclrtMemcpyAsync(address, x.nbytes, ffi.from_buffer(x), x.nbytes, H2D, stream))
                    ok(lib.aclmdlExecuteAsync(model, given, results, stream))
                    ok(lib.aclrtSynchronizeStream(stream))
                    np.testing.assert_array_equal(read(results)[0], models.dense_reference(x)[0])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_inputs_and_outputs_are_device_memory(model: int, given: Any, results: Any, stream: Any) -> None:
    host = dataset((ffi.from_buffer(X), X.nbytes))
    assert lib.aclmdlExecute(model, host, results) != 0
    assert lib.aclmdlExecuteAsync(model, host, results, stream) != 0
    place = np.empty_like(Y)
    outside = dataset((ffi.from_buffer(place), Y.nbytes), (ffi.from_buffer(place), TOP.nbytes))
    assert lib.aclmdlExecute(model, given, outside) != 0
    for made in (host, outside):
        destroy(made)


def test_unaligned_memory(model: int, given: Any, results: Any) -> None:
    block = device(X.nbytes + 64)
    odd_input, odd_outputs = dataset((block + 1, X.nbytes)), dataset((block + 2, Y.nbytes), (block, TOP.nbytes))
    for inputs, outputs in ((odd_input, results), (given, odd_outputs)):
        assert lib.aclmdlExecute(model, inputs, outputs) == lib.ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID
    destroy(odd_input)
    destroy(odd_outputs)
    ok(lib.aclrtFree(block))


def test_every_question_about_inputs_and_outputs(model: int, om: Path) -> None:
    content = om.read_bytes()
    for fill in (lambda desc: lib.aclmdlGetDesc(desc, model),
                 lambda desc: lib.aclmdlGetDescFromFile(desc, os.fsencode(om)),
                 lambda desc: lib.aclmdlGetDescFromMem(desc, ffi.from_buffer(content), len(content))):
        desc = lib.aclmdlCreateDesc()
        ok(fill(desc))
        assert (lib.aclmdlGetNumInputs(desc), lib.aclmdlGetNumOutputs(desc)) == (1, 2)
        index = ffi.new("size_t *")
        for i, (name, array) in enumerate({"n_y:0:y": Y, "n_top:0:top": TOP}.items()):
            assert ffi.string(lib.aclmdlGetOutputNameByIndex(desc, i)).decode() == name
            ok(lib.aclmdlGetOutputIndexByName(desc, name.encode(), index))
            assert (index[0], lib.aclmdlGetOutputSizeByIndex(desc, i)) == (i, array.nbytes)
            assert lib.aclmdlGetOutputDataType(desc, i) == lib.ACL_FLOAT
            assert lib.aclmdlGetOutputFormat(desc, i) == lib.ACL_FORMAT_ND
            dims = out("aclmdlIODims *", lib.aclmdlGetOutputDims, desc, i, first=False)
            assert tuple(dims.dims[k] for k in range(dims.dimCount)) == array.shape
        assert ffi.string(lib.aclmdlGetInputNameByIndex(desc, 0)) == b"x"
        ok(lib.aclmdlGetInputIndexByName(desc, b"x", index))
        assert (index[0], lib.aclmdlGetInputSizeByIndex(desc, 0)) == (0, X.nbytes)
        assert lib.aclmdlGetInputDataType(desc, 0) == lib.ACL_FLOAT
        assert lib.aclmdlGetInputFormat(desc, 0) == lib.ACL_FORMAT_ND
        for query in (lib.aclmdlGetInputIndexByName, lib.aclmdlGetOutputIndexByName):
            assert query(desc, b"nobody", index) == query(desc, NULL, index) == lib.ACL_ERROR_INVALID_PARAM
        for query in (lib.aclmdlGetInputNameByIndex, lib.aclmdlGetOutputNameByIndex):
            assert query(desc, 9) == NULL
        assert lib.aclmdlGetInputSizeByIndex(desc, 9) == lib.aclmdlGetOutputSizeByIndex(desc, 9) == 0
        ok(lib.aclmdlDestroyDesc(desc))


def test_bundles(tmp_path: Path, om: Path, given: Any, results: Any) -> None:
    models.compiled(models.dense(), tmp_path / "other.om")  # skips where the emulator's models cannot be used
    from pyacl.emulator.models import compile as compiler

    path = tmp_path / "bundle.om"
    path.write_bytes(b"".join(compiler.bundle([om.read_bytes(), om.read_bytes()])))
    content = path.read_bytes()
    bundle, number, count = ffi.new("uint32_t *"), ffi.new("uint32_t *"), ffi.new("size_t *")
    for load in (lambda: lib.aclmdlBundleLoadFromFile(os.fsencode(path), bundle),
                 lambda: lib.aclmdlBundleLoadFromMem(ffi.from_buffer(content), len(content), bundle)):
        ok(load())
        ok(lib.aclmdlBundleGetModelNum(bundle[0], count))
        assert count[0] == 2
        ok(lib.aclmdlBundleGetModelId(bundle[0], 1, number))
        ok(lib.aclmdlExecute(number[0], given, results))
        assert lib.aclmdlUnload(number[0]) == lib.ACL_ERROR_INVALID_PARAM
        ok(lib.aclmdlBundleUnload(bundle[0]))
    for start in (lambda: lib.aclmdlBundleInitFromFile(os.fsencode(path), NULL, 0, bundle),
                  lambda: lib.aclmdlBundleInitFromMem(ffi.from_buffer(content), len(content), NULL, 0, bundle)):
        ok(start())
        ok(lib.aclmdlBundleLoadModel(bundle[0], 0, number))
        ok(lib.aclmdlExecute(number[0], given, results))
        ok(lib.aclmdlBundleUnloadModel(bundle[0], number[0]))
        ok(lib.aclmdlBundleUnload(bundle[0]))
    np.testing.assert_array_equal(read(results)[0], Y)


def test_queues_are_not_emulated(om: Path) -> None:
    if models.on_hardware():
        pytest.skip("asks about the emulator")
    number, queue = ffi.new("uint32_t *"), ffi.new("uint32_t[1]")
    content = om.read_bytes()
    assert lib.aclmdlLoadFromFileWithQ(os.fsencode(om), number, NULL, 1, queue, 1) == lib.ACL_ERROR_INVALID_PARAM
    for load in (lambda: lib.aclmdlLoadFromFileWithQ(os.fsencode(om), number, queue, 1, queue, 1),
                 lambda: lib.aclmdlLoadFromMemWithQ(ffi.from_buffer(content), len(content), number, queue, 1, queue, 1)):
        assert load() == lib.ACL_ERROR_API_NOT_SUPPORT
        assert b"not emulated" in ffi.string(lib.aclGetRecentErrMsg())


def test_aipp_parameters_need_room_for_each_picture() -> None:
    one, four = (int(out("size_t *", lib.aclmdlGetAippDataSize, n, first=False)) for n in (1, 4))
    assert 0 < one < four
    assert lib.aclmdlGetAippDataSize(1, NULL) == lib.ACL_ERROR_INVALID_PARAM
