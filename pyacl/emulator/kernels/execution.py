"""Running a kernel: a launch queues one of these on a stream, and it runs every block when its turn has come.

``PYACL_EMULATOR_KERNEL_ISOLATE=1`` runs a host kernel in a child process first. If it crashes there, or hangs longer
than its launch's time-out, that is the kernel's fault, and this process lives on; otherwise it runs here for its
results.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import Any, Callable, Optional

import numpy as np

from ...capi import ffi
from .. import handles
from ..failure import Failure
from ..machine import context, memory
from ..machine.exception import ExceptionInfo, thread_number
from ..machine.stream import Stream
from . import objects, registry
from .binary import Function

isolate = os.environ.get("PYACL_EMULATOR_KERNEL_ISOLATE", "0") not in ("", "0")
_SHORTEST_TIMEOUT = 1.0  # seconds; an emulated kernel is not as fast as a device's

_entry_type = "void(*)(void *, const void *)"
_cpu_entry_type = "uint32_t(*)(void *)"


class Fault:
    """What is known of a kernel's fault, for the callbacks that ask."""

    def __init__(self, launch: Launch, failure: Failure) -> None:
        self.function = launch.function
        self.failure = failure
        self.address, self.size = launch.device_arguments()


class _Thread(threading.local):
    fault: Optional[Fault] = None  # the last one on this thread


_thread = _Thread()


class Launch:
    """A queued launch. Its arguments are a block that was copied at the launch, or device memory."""

    def __init__(self, function: Function, blocks: int, stream: Stream, block: Optional[bytes],
                 placeholders: tuple[tuple[int, int], ...] = (), address: int = 0, size: int = 0,
                 timeout: Optional[float] = None) -> None:
        self.function = function
        self.blocks = blocks
        self.stream = stream
        self.block = block
        self.placeholders = placeholders
        self.address = address
        self.size = size
        self.timeout = timeout
        self.library = function.binary.library
        self._fault_copy: Optional[memory.Region] = None

    def submit(self) -> None:
        self.stream.submit(self, f"kernel {self.function.name}", None, self.function.fault)

    def __call__(self) -> None:
        _thread.fault = None
        try:
            self._run()
        except Failure as error:
            code = error.code if error.code >= 500000 else self.function.fault
            self._report(Failure(code, error.text))
        except Exception as error:
            sys.stderr.write(f"pyacl emulator: kernel {self.function.name} raised\n{traceback.format_exc()}")
            self._report(Failure(self.function.fault, f"{type(error).__name__}: {error}"))

    def _run(self) -> None:
        function = self.function
        if not function.binary.loaded:
            raise Failure(function.fault, "its binary was unloaded before it ran: synchronise the stream before "
                          "aclrtBinaryUnLoad")
        arguments = self._arguments()
        if self.library is not None:
            run = self._host_cpu(arguments) if function.ai_cpu else self._host(arguments)
            if isolate:
                rehearse(run, self.timeout, function)
            run()
            return
        python = registry.find(function)
        if python is None:
            name = objects.base_names(function.name)[-1]
            raise Failure(function.fault, f"the emulator cannot run its code. Register a Python function for it: "
                          f"@pyacl.emulator.kernel({name!r}, args=[...]), or load a library compiled for this machine")
        self._python(python, arguments)

    def _arguments(self) -> memory.Bytes:
        """The block, writable and with the placeholders' addresses in place."""
        if self.block is None:
            return memory.device_bytes(self.address, self.size, "the argument block")
        owner = np.empty((len(self.block) + 7) // 8 or 1, np.uint64)
        block = owner.view(np.uint8)[:len(self.block)]
        block[:] = np.frombuffer(self.block, np.uint8)
        self._place(block, int(block.ctypes.data))
        return block

    def _place(self, block: memory.Bytes, base: int) -> None:
        for offset, data_offset in self.placeholders:
            block[offset:offset + 8] = np.frombuffer((base + data_offset).to_bytes(8, "little"), np.uint8)

    # Python

    def _python(self, kernel: registry.PythonKernel, arguments: memory.Bytes) -> None:
        function = self.function
        if kernel.slots is None:
            values: list[Any] = [arguments[function.system_bytes:]]
        else:
            values = list(registry.values(kernel.slots, arguments, function.system_bytes, self.stream.device,
                                          function.ai_cpu))
        key = function.info.key or 0
        with context.inside("a kernel"):
            if kernel.vectorized:
                kernel.function(*values, registry.Block(np.arange(self.blocks), self.blocks, function.name, key))
                return
            for index in range(self.blocks):
                kernel.function(*values, registry.Block(index, self.blocks, function.name, key))

    # Host libraries

    def _host(self, arguments: memory.Bytes) -> Callable[[], None]:
        function, binary = self.function, self.function.binary
        if function.signature is not None:  # so that a bad address is a fault, not a crash
            list(registry.values(function.signature, arguments, function.system_bytes, self.stream.device, False))
        symbols = function.info.symbols
        cube, vector = function.info.ratio
        # Which function runs how often in each block: a mix kernel's cube part, then its vector part.
        parts = [(symbols[core].name, times) for core, times in (("", 1), ("aic", cube or 1), ("aiv", vector or 1))
                 if core in symbols]
        entries = [(ffi.cast(_entry_type, binary.entry(name)), times) for name, times in parts]
        pointer = ffi.cast("void *", int(arguments.ctypes.data))

        def run() -> None:
            block = ffi.new("uint32_t[6]", [0, self.blocks, len(arguments), function.system_bytes, 0, 1])
            for index in range(self.blocks):
                block[0] = index
                for entry, times in entries:
                    block[5] = times
                    for part in range(times):
                        block[4] = part
                        entry(pointer, block)
        return run

    def _host_cpu(self, arguments: memory.Bytes) -> Callable[[], None]:
        function = self.function
        entry = ffi.cast(_cpu_entry_type, function.binary.entry(function.cpu_function))
        pointer = ffi.cast("void *", int(arguments.ctypes.data))

        def run() -> None:
            for index in range(self.blocks):
                status = entry(pointer)
                if status:
                    raise Failure(function.fault, f"{function.cpu_function} returned {status} in block {index}")
        return run

    # Faults

    def device_arguments(self) -> tuple[int, int]:
        """Where on the device the arguments lie; those that came from the host are copied there for the callbacks."""
        if self.block is None:
            return self.address, self.size
        device = self.stream.device
        old = _fault_copies.pop(device.id, None)
        if old is not None and not old.freed:
            memory.release(old)
        try:
            region = memory.malloc(device, max(len(self.block), 1), "a fault's arguments")
        except Failure:
            return 0, 0
        _fault_copies[device.id] = region
        block = region.bytes[:len(self.block)]
        block[:] = np.frombuffer(self.block, np.uint8)
        self._place(block, region.address)
        return region.address, len(self.block)

    def _report(self, failure: Failure) -> None:
        """Tells the binary's callback, and makes it the stream's fault."""
        fault = _thread.fault = Fault(self, failure)
        binary = self.function.binary
        if binary.callback is not None and binary.loaded:
            stream = self.stream
            info = ExceptionInfo(stream.done, stream.id, thread_number(threading.get_ident()), stream.device.id,
                                 failure.code)
            info.kernel = fault  # type: ignore[attr-defined]
            number = handles.new(info)
            try:
                with context.inside("an exception callback"):
                    binary.callback(ffi.cast("aclrtExceptionInfo *", number), binary.user_data)
            finally:
                handles.drop(number)
        raise failure


_fault_copies: dict[int, memory.Region] = {}


def fault_of(info: ExceptionInfo) -> Optional[Fault]:
    """The kernel's fault that an exception information is about."""
    found: Optional[Fault] = getattr(info, "kernel", None)
    if found is None and _thread.fault is not None and _thread.fault.failure.code == info.code:
        found = _thread.fault
    return found


def rehearse(run: Callable[[], None], timeout: Optional[float], function: Function) -> None:
    """Runs a kernel in a child process, whose memory is a copy of this one's, to see whether it survives."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads: the child calls the kernel and nothing else
        child = os.fork()
    if child == 0:
        _rehearse_in_child(run, write_end)
    os.close(write_end)
    text = b""
    try:
        limit = None if not timeout else time.monotonic() + max(timeout, _SHORTEST_TIMEOUT)
        ended = False
        while not ended:
            ready, _, _ = select.select([read_end], [], [], None if limit is None else max(0, limit - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise Failure(function.timeout, f"it ran longer than the {timeout} s it was given")
            chunk = os.read(read_end, 4096)
            text += chunk
            ended = not chunk
    finally:
        os.close(read_end)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        raise Failure(function.fault, f"it crashed with {signal.Signals(number).name}")
    if os.WEXITSTATUS(status):
        raise Failure(function.fault, text.decode(errors="replace")
                      or f"it ended its process with status {os.WEXITSTATUS(status)}")


def _rehearse_in_child(run: Callable[[], None], write_end: int) -> None:
    status = 1
    try:
        faulthandler.disable()
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # what it prints, it prints again in the parent
        run()
        status = 0
    except Failure as failure:
        os.write(write_end, failure.text.encode())
    except BaseException as error:
        os.write(write_end, repr(error).encode())
    finally:
        os._exit(status)
