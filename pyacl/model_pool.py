"""Many copies of a model behind one queue, for throughput."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from typing import Any, Iterable, Iterator, Optional, Sequence

from .device import Device
from .model import Model
from .model_desc import Path

_STOP = None
_open: weakref.WeakSet[ModelPool] = weakref.WeakSet()


class ModelPool:
    """Copies of a model on one or several devices, each with a thread of its own.

    `devices`: device ids; `copies`: how many models on each; `queue_size`: how many calls may wait, all in all, before
    `submit` blocks (default: two for each copy). Inputs are what calling a model takes. `map` gives results in order.
    """

    def __init__(self, path: Path, *, devices: Sequence[int] = (0,), copies: int = 1,
                 queue_size: Optional[int] = None) -> None:
        if copies < 1 or not devices:
            raise ValueError("a pool needs at least one device and one copy")
        if queue_size is not None and queue_size < 1:
            raise ValueError(f"queue_size={queue_size}: at least one call must be able to wait")
        count = len(devices) * copies
        self._waiting: queue.Queue[Any] = queue.Queue(queue_size or 2 * count)
        self._lock = threading.Lock()
        self._closed = False
        ready: list[Future[None]] = [Future() for _ in range(count)]
        places = [d for d in devices for _ in range(copies)]
        self._threads = [threading.Thread(target=self._serve, args=(path, place, future), daemon=True,
                                          name=f"pyacl-model-{place}") for place, future in zip(places, ready)]
        _open.add(self)
        for thread in self._threads:
            thread.start()
        failures = [f.exception() for f in ready]  # waits until every copy is loaded
        failure = next((f for f in failures if f is not None), None)
        if failure is not None:
            self.close()
            raise failure

    def __len__(self) -> int:
        return len(self._threads)

    def _serve(self, path: Path, device_id: int, ready: Future[None]) -> None:
        try:
            device = Device(device_id)
            try:
                model = Model.from_file(path)
            except BaseException:
                device.close()
                raise
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        try:
            with device, model:
                while True:
                    task = self._waiting.get()
                    if task is _STOP:
                        return
                    future, args, kwargs = task
                    if future.set_running_or_notify_cancel():
                        try:
                            future.set_result(model(*args, **kwargs))
                        except BaseException as error:
                            future.set_exception(error)
                    del task, future, args, kwargs
        finally:
            self._drain()

    def _drain(self) -> None:
        """When the last thread ends on an error, nobody may wait for ever."""
        if not self._closed and all(not t.is_alive() or t is threading.current_thread() for t in self._threads):
            self._closed = True

    def submit(self, *inputs: Any, **named: Any) -> Future[Any]:
        """Queues one call; its Future has what calling the model gives. Blocks while the queue is full."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the ModelPool is closed")
            self._waiting.put((future, inputs, named))
        return future

    def map(self, inputs: Iterable[Any], *, in_flight: Optional[int] = None) -> Iterator[Any]:
        """Runs the model on each item and gives the results in order.

        An item is one array, a tuple of the model's inputs, or a dict by name. At most `in_flight` items (default:
        three for each copy) are taken from `inputs` ahead of the result that is waited for.
        """
        limit = in_flight or 3 * len(self)
        running: deque[Future[Any]] = deque()
        try:
            for item in inputs:
                running.append(self.submit(*item) if isinstance(item, tuple) else self.submit(item))
                if len(running) >= limit:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """Finishes what is queued, then unloads the models; a second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for thread in self._threads:
                if thread.is_alive():
                    self._waiting.put(_STOP)
        for thread in self._threads:
            thread.join()
        _open.discard(self)

    def __enter__(self) -> ModelPool:
        if self._closed:
            raise RuntimeError("the ModelPool is closed")
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pyacl.ModelPool of {len(self)}{' closed' if self._closed else ''}>"


@atexit.register
def _close_forgotten() -> None:
    """Python ends daemon threads wherever they are, which inside C++ ends the process in an error. Nobody will ask for
    what is still queued."""
    for pool in list(_open):
        try:
            while True:
                task = pool._waiting.get_nowait()
                if task is not _STOP:
                    task[0].cancel()
        except queue.Empty:
            pool.close()
