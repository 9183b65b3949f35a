"""Loaded models: their ids, memory, context, and what is in flight."""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ...capi import lib
from ..failure import Failure
from ..machine import context as contexts
from ..machine import memory, settings
from ..machine.context import Context
from ..machine.memory import Region
from ..machine.stream import Stream
from . import container, describe, dump, sources
from .describe import ModelInfo
from .session import Run
from .sources import Runner

_ids = itertools.count(1)
_loaded: dict[int, Loaded] = {}


@dataclass
class Block:
    """Work or weight memory: the emulator's own, or the user's."""

    address: int
    size: int
    own: Optional[Region] = None

    def check(self, what: str) -> None:
        """Fails when the user freed it."""
        if self.size and self.own is None:
            memory.device_bytes(self.address, self.size, what, lib.ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID)


class Loaded:
    """A model that was loaded and has an id."""

    def __init__(self, info: ModelInfo, runner: Runner, context: Context, work: Block, weight: Block) -> None:
        self.id = next(_ids)
        self.info = info
        self.runner = runner
        self.context = context
        self.work = work
        self.weight = weight
        self.priority = 0
        self.bundle: Optional[int] = None
        self.without_graph = False
        self.gear: Optional[int] = None  # which one was set last
        self.aipp: dict[int, Any] = {}  # parameters set for dynamic AIPP, by input index
        self.dump = dump.for_model(info.name)
        self.runs = 0
        # What computes it, and the outputs' shapes, by gear and by address and size of every buffer.
        self.ready: dict[Any, tuple[Run, list[tuple[int, ...]]]] = {}
        self.in_flight: dict[int, tuple[Stream, Callable[[], None]]] = {}  # what is queued, by when
        self._running = threading.Lock()

    def enter(self) -> None:
        """Marks the model as running; fails where another thread runs it."""
        if not self._running.acquire(False):
            raise Failure(lib.ACL_ERROR_RT_MODEL_EXECUTE, f"two threads execute model {self.id} ({self.info.name}) at "
                          "the same time: hold one lock around filling its inputs and executing it")

    def leave(self) -> None:
        self._running.release()

    def busy_elsewhere(self, stream: Optional[Stream], before: Optional[int] = None) -> Optional[Stream]:
        """A stream other than the given one on which the model still has to run what was queued (before a time)."""
        for number, (other, run) in list(self.in_flight.items()):
            if other is stream or before is not None and number >= before:
                continue
            if other.alive and any(task[0] is run for task in list(other.queue)):
                return other
            self.in_flight.pop(number, None)  # an abort dropped it
        return None

    def release(self) -> None:
        for block in (self.work, self.weight):
            if block.own is not None and not block.own.freed:
                memory.release(block.own)


def get(model_id: int) -> Loaded:
    """The model behind an id, for the calling thread's context."""
    context = contexts.current()
    model = _loaded.get(model_id)
    if model is None:
        raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_ID_INVALID, f"no model has id {model_id}: it was unloaded, or never "
                      "loaded")
    if model.context is not context:
        if not model.context.alive:
            del _loaded[model_id]
            raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_ID_INVALID, f"model {model_id} ended with its context, which was "
                          "destroyed or whose device was reset")
        raise Failure(lib.ACL_ERROR_RT_MODEL_CONTEXT, f"model {model_id} was loaded in another context than this "
                      "thread's current one: load, execute and unload it in one context")
    return model


def read(path: str) -> Any:
    """The bytes of a model file; those of a function model where there is no such file."""
    try:
        return container.read(path)
    except Failure:
        registered = sources.function_for(path)
        if registered is None:
            raise
        return registered.file()


_FAMILY = re.compile(r"Ascend\d+(?:_\d\d|[A-Z]{1,2})?", re.I)


def _check_soc(info: ModelInfo) -> None:
    mine = settings.soc_name
    family, wanted = (_FAMILY.match(name) for name in (mine, info.soc))
    if info.soc and wanted and family and wanted[0].lower() != family[0].lower():
        raise Failure(lib.ACL_ERROR_RT_SOC_VERSION, f"model {info.name} was compiled for {info.soc}, and the device "
                      f"is a {mine}: compile it for that, or set PYACL_EMULATOR_SOC={info.soc}")


def load(data: Any, path: Optional[str] = None, *, work: tuple[int, int] = (0, 0), weight: tuple[int, int] = (0, 0),
         user_memory: bool = False) -> Loaded:
    """Loads a model's bytes into the current context; `work` and `weight` are the user's (address, size)."""
    context = contexts.current()
    info = describe.describe(data)
    _check_soc(info)
    if user_memory and info.unbounded and (work[0] or weight[0]):
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"the shapes of {info.name} are known at run time only: it "
                      "cannot be loaded into memory of yours, as nobody knows how much it needs")
    runner = sources.find(info, data, path)
    blocks: list[Block] = []
    try:
        for what, (address, size), needed in (("work memory", work, info.work_bytes),
                                              ("weight memory", weight, info.weight_bytes)):
            blocks.append(_block(context, what, address, size, needed))
        content = info.container.find(container.WEIGHTS_DATA)
        if content is not None and blocks[1].own is None and blocks[1].size:
            count = min(len(content), blocks[1].size)
            memory.device_bytes(blocks[1].address, count)[:] = content[:count]
        model = Loaded(info, runner, context, blocks[0], blocks[1])
    except BaseException:
        for block in blocks:
            if block.own is not None:
                memory.release(block.own)
        raise
    _loaded[model.id] = model
    return model


def _block(context: Context, what: str, address: int, size: int, needed: int) -> Block:
    if not needed:
        return Block(0, 0)
    if not address:
        return Block(0, needed, memory.malloc(context.device, needed, f"the {what} of aclmdlLoad"))
    if size < needed:
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"{what} of {size} bytes is too small: the model needs {needed} "
                      "(aclmdlQuerySize)")
    memory.device_bytes(address, needed, what, lib.ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID)
    return Block(address, needed)


def unload(model_id: int, by_bundle: bool = False) -> None:
    """Forgets a model. Fails while its work is in flight, or where a bundle has to unload it."""
    model = get(model_id)
    if model.bundle is not None and not by_bundle:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"model {model_id} belongs to bundle {model.bundle}: unload it with "
                      "aclmdlBundleUnloadModel or aclmdlBundleUnload")
    stream = model.busy_elsewhere(None)
    if stream is not None:
        raise Failure(lib.ACL_ERROR_GE_UNLOAD_MODEL, f"model {model_id} still has to run on {stream!r}: synchronise "
                      "the stream before unloading")
    model.enter()  # another thread may be inside aclmdlExecute
    model.leave()
    del _loaded[model_id]
    model.release()
