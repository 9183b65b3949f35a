"""What all classes that own something of CANN have in common: closing, forgetting, and not freeing what is in use.

A `Resource` closes once, by `close()`, by ``with`` or when it is dropped. It holds its parent, so dropping everything
releases in the right order. Closing one that a stream may still use waits for that stream first (`Flight`). One hook at
exit closes what is left, what depends on others first.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import warnings
import weakref
from typing import Any, Iterable, Optional, TypeVar

from . import errors
from .capi import ForkError, ffi, lib

R = TypeVar("R", bound="Resource")

# Every open resource by id.
_live: dict[int, weakref.ref[Resource]] = {}
_over = False  # the interpreter is shutting down, everything was closed
_forked = False
_pid = os.getpid()
_FORKED = ("was made before the fork, by the parent process: start workers with "
           "multiprocessing.get_context('spawn')")


class Resource:
    """Something that is released once.

    Subclasses acquire and then call `_own`; they override `_release`, `_uses` when they use other resources while
    queued work runs, and `_describe` for `repr`.
    """

    __slots__ = ("handle", "_parent", "__weakref__")

    handle: Any
    _parent: Optional[Resource]
    _warns = True  # whether forgetting to close it deserves a ResourceWarning
    _composite = False  # whether it must close before what it uses
    _has_children = False  # whether it is the parent of others

    def _own(self, handle: Any, parent: Optional[Resource] = None) -> None:
        """From now on this object releases `handle`."""
        self.handle = handle
        self._own_later(parent)

    def _own_later(self, parent: Optional[Resource] = None) -> None:
        """The same for a class whose `_make_handle` makes the handle when it is first needed."""
        self._parent = parent
        key = id(self)
        ref = _live[key] = weakref.ref(self)
        if self._composite:
            _unsorted[key] = ref

    @property
    def _made(self) -> Any:
        """The handle if it was made, else None."""
        try:
            return object.__getattribute__(self, "handle")
        except AttributeError:
            return None

    def _release(self) -> None:
        """Gives `handle` back; called once. May raise."""

    def _uses(self) -> Iterable[Resource]:
        """The resources that must outlive queued work of this one."""
        return ()

    def _describe(self) -> str:
        return ""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return id(self) not in _live

    def close(self) -> None:
        """Releases it, after the streams that may still use it; a second time does nothing.

        What was made in it, and what uses it and could run again, is closed first. Any thread may close it, but not
        while another one is inside a call that uses it.
        """
        if id(self) not in _live:
            return
        if self._has_children:
            close_all(_dependents(self))
        else:
            for user in _users_of(self):
                user.close()
        settle(self)
        if _forget(self):
            self._finish()

    def _finish(self) -> None:
        try:
            self._release()
        finally:
            self._let_go()
            self._parent = None

    def _let_go(self) -> None:
        """Its handle is gone: from now on whoever asks for it is told why."""
        if self._made is not None:
            del self.handle
        cls = type(self)
        if not hasattr(cls, "__getattr__"):
            self.__class__ = _gone(cls)

    def __enter__(self: R) -> R:
        if self.closed:
            raise errors.ClosedError(self._why_closed())
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        try:
            self.close()
        except Exception as later:
            if error is None:
                raise
            errors.note(error, later)

    def __del__(self) -> None:
        try:
            if _over or self.closed:
                return
            text = ""
            if self._warns:
                try:
                    text = f"{self!r} was never closed"
                except Exception:
                    text = f"a {type(self).__name__} was never closed"
            if not _forget(self):
                return
            try:
                self._finish()
            except Exception:  # nobody is there to catch it
                errors.recent_text()
        except Exception:  # the interpreter is going down
            return
        if text:
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def _why_closed(self) -> str:
        name = type(self).__name__
        return f"this {name} {_FORKED}" if _forked else f"this {name} is closed"

    def _make_handle(self) -> Any:
        """For classes that make their handle when it is first needed."""
        raise NotImplementedError

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls._make_handle is not Resource._make_handle:
            cls.__getattr__ = _missing  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        state = "closed" if self.closed else self._describe()
        return f"<pyacl.{type(self).__name__}{' ' if state else ''}{state}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"cannot pickle or copy a pyacl.{type(self).__name__}: it stands for something of this process")

    def _context(self) -> Optional[Resource]:
        """The context in which it was made."""
        parent = self._parent
        while parent is not None and not getattr(parent, "_is_context", False):
            parent = parent._parent
        return parent

    def _again(self, code: int, function: str, *args: Any) -> None:
        """After a call failed: once more where this thread only lacked a context, else the error."""
        if code == lib.ACL_ERROR_RT_CONTEXT_NULL and bind(self._context()):
            code = getattr(lib, function)(*args)
        errors.check(code, function)


# Objects of a class with __getattr__ are slow to read and to call, whether it is needed or not. So only those classes
# have it that make their handle late; an object that is closed changes over to a subclass that has it.


def _missing(self: Resource, name: str) -> Any:
    """``__getattr__`` of objects that have no handle, yet or any more."""
    if name == "handle":
        if _forked:
            raise ForkError(f"this {type(self).__name__} {_FORKED}")
        if id(self) in _live:
            return self._make_handle()
        raise errors.ClosedError(self._why_closed())
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _gone(cls: type) -> type:
    """The class of closed objects of `cls`: the same but for `_missing`."""
    found: Any = cls.__dict__.get("_gone")
    if found is None:
        found = type(cls)(cls.__name__, (cls,), {"__slots__": (), "__getattr__": _missing, "__doc__": cls.__doc__,
                                                 "__module__": cls.__module__, "__qualname__": cls.__qualname__})
        cls._gone = found  # type: ignore[attr-defined]
    return found  # type: ignore[no-any-return]


def bind(context: Optional[Resource]) -> bool:
    """Makes `context` this thread's, for a thread that has none; whether that was possible."""
    if context is None or context.closed:
        return False
    errors.recent_text()  # of the call that is going to be repeated
    return bool(lib.aclrtSetCurrentContext(context.handle) == 0)


def _forget(resource: Resource) -> bool:
    """Takes the right to release it; False if someone has it already."""
    key = id(resource)
    if resource._composite:
        _unsorted.pop(key, None)
        _unlist(key)
    _users.pop(key, None)
    return _live.pop(key, None) is not None


def live(kind: type[R]) -> list[R]:
    """All open resources of a class."""
    return [r for r in (ref() for ref in list(_live.values())) if isinstance(r, kind)]


# Which composites use what, by ids: used -> user -> the user, and user -> what it is listed under. A composite waits in
# `_unsorted` when it was made, and when what it uses has changed, until something closes: most never get that far.
_users: dict[int, dict[int, weakref.ref[Resource]]] = {}
_listed: dict[int, set[int]] = {}
_unsorted: dict[int, weakref.ref[Resource]] = {}
_sorting = threading.RLock()


def uses_changed(user: Resource) -> None:
    """To be called when a composite uses other resources than before."""
    key = id(user)
    ref = _live.get(key)
    if ref is not None:
        _unsorted[key] = ref


def _users_of(used: Resource) -> list[Resource]:
    """The composites that use it, themselves or by what is no composite; their own users are theirs to close."""
    with _sorting:
        while _unsorted:
            key, ref = _unsorted.popitem()
            _unlist(key)
            user = ref()
            if user is None:
                continue
            ids = _listed[key] = set()
            stack = [*user._uses()]
            while stack:
                item = stack.pop()
                if id(item) not in ids:
                    ids.add(id(item))
                    _users.setdefault(id(item), {})[key] = ref
                    if not item._composite:
                        stack.extend(item._uses())
    return [user for ref in [*_users.get(id(used), {}).values()] if (user := ref()) is not None]


def _unlist(key: int) -> None:
    for used in _listed.pop(key, ()):
        users = _users.get(used)
        if users is not None:
            users.pop(key, None)
            if not users:
                _users.pop(used, None)


def depends(user: Resource, used: Resource) -> bool:
    """Whether `user` is, uses or was made in `used`, at any remove."""
    stack: list[Resource] = [user]
    while stack:
        item = stack.pop()
        if item is used:
            return True
        stack.extend(item._uses())
        if used._has_children and item._parent is not None:
            stack.append(item._parent)
    return False


def _dependents(root: Resource) -> list[Resource]:
    return [r for r in live(Resource) if r is not root and depends(r, root)]


def _depth(resource: Resource) -> int:
    """How many layers of resources it stands on."""
    below = [*resource._uses()]
    if resource._parent is not None:
        below.append(resource._parent)
    return 1 + max((_depth(r) for r in below), default=0)


def close_all(resources: Iterable[Resource]) -> None:
    """Closes each, what stands on others first. The first error is raised when all are closed."""
    first: Optional[Exception] = None
    for resource in sorted(resources, key=_depth, reverse=True):
        try:
            resource.close()
        except Exception as error:
            if first is None:
                first = error
            else:
                errors.note(first, error)
    if first is not None:
        raise first


class _Kept:
    """Stands in a table of held objects for one that may be equal to another, or cannot be hashed."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj


_batch_numbers = itertools.count()
_swapping = threading.RLock()  # of a stream's table: two threads must not take the same one

# What is queued on each stream, by the stream's address. Reachable from here, what is in flight is never garbage.
flights: dict[int, Flight] = {}


class Flight:
    """What one stream may still use. A launch adds to `held`; a synchronise drops what was there when it began."""

    __slots__ = ("handle", "address", "_context", "held", "_batches", "failures", "workspace", "room", "_buffer")

    def __init__(self, handle: Any, address: int, context: Optional[Resource]) -> None:
        self.handle = handle
        self.address = address
        # Weak: the record of a default stream must not keep the device open.
        self._context = None if context is None else weakref.ref(context)
        self.held: dict[Any, Any] = {}
        self._batches: dict[int, dict[Any, Any]] = {}
        self.failures: list[BaseException] = []  # of host functions, or found by a synchronise that nobody asked for
        self.workspace: Any = ffi.NULL
        self.room = 0
        self._buffer: Any = None

    def hold(self, obj: Any) -> None:
        """Keeps `obj` until the work queued so far is done. Call it after the work was queued."""
        self.held[obj if isinstance(obj, Resource) else _Kept(obj)] = None

    def grow(self, nbytes: int) -> None:
        """Makes the stream's workspace at least `nbytes` large; the old one lives on until it is not used any more."""
        from .memory import DeviceBuffer

        old, self._buffer = self._buffer, DeviceBuffer._for_pyacl(nbytes)
        self._buffer._parent = None  # for the same reason as `_context`: it goes when the stream or the context does
        self.workspace, self.room = self._buffer.handle, nbytes
        if old is not None:
            self.hold(old)

    @property
    def context(self) -> Optional[Resource]:
        """The context of the stream, while it is alive."""
        return None if self._context is None else self._context()

    @property
    def busy(self) -> bool:
        return bool(self.held or self._batches)

    def holds(self, resource: Resource) -> bool:
        """Whether it is held, itself."""
        return resource in self.held or (
            bool(self._batches) and any(resource in batch for batch in list(self._batches.values())))

    def __contains__(self, resource: Resource) -> bool:
        """Whether it, or something that uses it, is held."""
        return self.holds(resource) or any(isinstance(item, Resource) and depends(item, resource)
                                           for table in (self.held, *list(self._batches.values()))
                                           for item in list(table))

    def begin(self) -> list[int]:
        """Notes what is held now; to be called before a synchronise, and its answer given to `end` after it."""
        fresh: dict[Any, Any] = {}
        number = next(_batch_numbers)  # never used again, unlike an id: another thread may still know the old one
        with _swapping:
            if self.held:
                self._batches[number], self.held = self.held, fresh
        return list(self._batches)

    def end(self, batches: list[int], code: int) -> None:
        """Drops what was held at `begin`, unless the status says that it may still be in use."""
        if code == 0 or not (code == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT or 100000 <= code < 200000):
            for key in batches:
                self._batches.pop(key, None)

    def synchronize(self, milliseconds: int = -1) -> tuple[int, str]:
        """Waits; gives the status and the name of the function that returned it.

        In one piece: short waits one after the other would let Ctrl-C through, but for each that runs out CANN queues a
        task and reads back the device's state.
        """
        batches = self.begin()
        for attempt in (1, 2):
            if milliseconds < 0:
                function, code = "aclrtSynchronizeStream", lib.aclrtSynchronizeStream(self.handle)
            else:
                function = "aclrtSynchronizeStreamWithTimeout"
                code = lib.aclrtSynchronizeStreamWithTimeout(self.handle, milliseconds)
            if code != lib.ACL_ERROR_RT_CONTEXT_NULL or attempt == 2 or not bind(self.context):
                break
        self.end(batches, code)
        return code, function

    def settle(self) -> None:
        """Waits; an error is kept for the stream's next synchronise, because it is not that of whoever waits now."""
        code, function = self.synchronize()
        if code == lib.ACL_ERROR_RT_STREAM_CONTEXT and self.context is not None:
            from .context import switched

            errors.recent_text()
            with switched(self.context):
                code, function = self.synchronize()
        if code:
            self.failures.append(errors.error(code, function))

    def forget(self) -> None:
        """The stream is gone, and what it used is free."""
        flights.pop(self.address, None)
        if type(self) is Flight:
            del self.handle
            self.__class__ = _Landed
        self.held = {}
        self._batches.clear()
        buffer, self._buffer = self._buffer, None
        self.workspace, self.room = ffi.NULL, 0
        if buffer is not None:
            buffer.close()


class _Landed(Flight):
    """The record of a stream that is gone: nothing may be queued there any more."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name == "handle":
            raise errors.ClosedError("this Stream is closed")
        raise AttributeError(name)


def flight_of(handle: Any, context: Optional[Resource]) -> Flight:
    """The record of the stream `handle`; one for each stream, however many objects stand for it."""
    address = int(ffi.cast("uintptr_t", handle))
    flight = flights.get(address)
    if flight is None:
        flight = flights.setdefault(address, Flight(handle, address, context))
    return flight


def settle(resource: Resource) -> None:
    """Waits for every stream that may still use `resource`."""
    for flight in list(flights.values()):
        if flight.busy and resource in flight:
            flight.settle()


def keep_while_in_flight(user: Resource, *used: Any) -> None:
    """Keeps `used`, which `user` is about to let go, for as long as a stream holds `user`."""
    for flight in list(flights.values()):
        if flight.holds(user):
            for item in used:
                flight.hold(item)


def close_everything() -> None:
    """Closes all that is open, what stands on others first; errors do not stop it, the first is raised at the end."""
    for flight in list(flights.values()):
        if flight.busy:
            flight.settle()
    try:
        close_all(live(Resource))
    finally:
        flights.clear()


# Run after everything was closed at exit, by device.py.
at_end: list[Any] = []


@atexit.register
def _at_exit() -> None:
    global _over
    if os.getpid() != _pid or _forked:
        return
    try:
        close_everything()
    except Exception:  # nothing can be done about it any more
        pass
    _over = True
    for function in at_end:
        try:
            function()
        except Exception:
            pass


def _after_fork_in_child() -> None:
    global _forked, _pid, _sorting
    _pid, _sorting = os.getpid(), threading.RLock()
    if not _live:
        return
    _forked = True
    for resource in live(Resource):
        resource._let_go()
    _live.clear()
    _users.clear()
    _listed.clear()
    _unsorted.clear()
    flights.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
