"""Running a kernel: a launch queues one of these on a stream, and it runs every block when its turn has come."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any, Callable, Optional, Union

import numpy as np

from ...capi import ffi
from .. import handles
from ..failure import Failure
from ..machine import context, memory
from ..machine.exception import ExceptionInfo, thread_number
from ..machine.stream import Stream
from . import isolation, objects, registry
from .binary import Function
from .block import DeviceBlock, HostBlock

_entry_type = "void(*)(void *, const void *)"
_cpu_entry_type = "uint32_t(*)(void *)"
_SHORTEST_TIMEOUT = 1.0  # seconds; an emulated kernel is not as fast as a device's


class KernelFault(Failure):
    """A kernel's fault, and what callbacks may ask about it."""

    def __init__(self, launch: Launch, code: int, text: str) -> None:
        super().__init__(code, text)
        self.function = launch.function
        self.address, self.size = launch.block.on_device(launch.stream.device)


class Launch:
    """A queued launch of `blocks` blocks with their argument block."""

    def __init__(self, function: Function, blocks: int, stream: Stream, block: Union[HostBlock, DeviceBlock],
                 timeout: Optional[float]) -> None:
        self.function = function
        self.blocks = blocks
        self.stream = stream
        self.block = block
        self.timeout = timeout

    def submit(self) -> None:
        self.stream.submit(self, f"kernel {self.function.name}", None, self.function.fault)

    def __call__(self) -> None:
        try:
            self._run()
        except Failure as error:
            code = error.code if error.code >= 500000 else self.function.fault
            self._fail(code, error.text)
        except (Exception, SystemExit) as error:
            sys.stderr.write(f"pyacl emulator: kernel {self.function.name} raised\n{traceback.format_exc()}")
            self._fail(self.function.fault, f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        function = self.function
        if not function.binary.loaded:
            raise Failure(function.fault, "its binary was unloaded before it ran: synchronise the stream before "
                          "aclrtBinaryUnLoad")
        arguments = self.block.read(self.stream.device)
        if function.binary.library is not None:
            run = self._host_cpu(arguments) if function.ai_cpu else self._host(arguments)
            if isolation.wanted:
                self._rehearse(run)
            run()
            return
        python = registry.find(function)
        if python is None:
            name = objects.base_names(function.name)[-1]
            raise Failure(function.fault, f"the emulator cannot run its code. Register a Python function for it: "
                          f"@pyacl.emulator.kernel({name!r}, args=[...]), or load a library compiled for this machine")
        self._python(python, arguments)

    def _rehearse(self, run: Callable[[], None]) -> None:
        function = self.function
        try:
            outcome = isolation.rehearse(run, max(self.timeout, _SHORTEST_TIMEOUT) if self.timeout else None)
        except TimeoutError:
            raise Failure(function.timeout, f"it ran longer than the {self.timeout} s it was given") from None
        if outcome.text:
            raise Failure(function.fault, outcome.text)

    def _values(self, slots: tuple[registry.Slot, ...], arguments: memory.Bytes) -> list[Any]:
        """The arguments by their types. Fails where other ones were appended, and for bad addresses."""
        appended = self.block.arguments
        if appended is not None:
            registry.compare(slots, appended)
        return list(registry.values(slots, arguments, self.function.system_bytes, self.stream.device,
                                    self.function.ai_cpu, appended or ()))

    def _python(self, kernel: registry.PythonKernel, arguments: memory.Bytes) -> None:
        function = self.function
        values = [arguments[function.system_bytes:]] if kernel.slots is None else self._values(kernel.slots, arguments)
        key = function.info.key or 0
        with context.inside("a kernel"):
            if kernel.vectorized:
                kernel.function(*values, registry.Block(np.arange(self.blocks), self.blocks, function.name, key))
                return
            for index in range(self.blocks):
                kernel.function(*values, registry.Block(index, self.blocks, function.name, key))

    def _host(self, arguments: memory.Bytes) -> Callable[[], None]:
        function, binary = self.function, self.function.binary
        if function.signature is not None:  # so that a bad address is a fault, not a crash
            self._values(function.signature, arguments)
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

    def _fail(self, code: int, text: str) -> None:
        """Tells the binary's callback, and makes it the stream's fault."""
        fault = KernelFault(self, code, text)
        binary = self.function.binary
        if binary.callback is not None and binary.loaded:
            stream = self.stream
            info = ExceptionInfo(stream.done, stream.id, thread_number(threading.get_ident()), stream.device.id, code,
                                 fault)
            number = handles.new(info)
            try:
                with context.inside("an exception callback"):
                    binary.callback(ffi.cast("aclrtExceptionInfo *", number), binary.user_data)
            finally:
                handles.drop(number)
        raise fault
