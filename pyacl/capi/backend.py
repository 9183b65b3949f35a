"""Which implementation serves the C functions of this process: CANN's own libraries, or the emulator.

``PYACL_BACKEND=auto|native|emulator`` or `use_backend` decide, before the first call and for the life of the process.
This is the only module that knows that there are two.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from typing import Any, Callable, NamedTuple, Optional

from .library import ForkError
from .module import ffi, raw

RTLD_NOW, RTLD_GLOBAL = 0x2, 0x100
NAMES = ("auto", "native", "emulator")

# The runtime comes first; the others are opened when a symbol is asked for that the earlier ones lack.
RUNTIME = "libascendcl.so"
OTHERS = (
    "libopapi.so", "libopapi_math.so", "libopapi_nn.so", "libopapi_cv.so", "libopapi_transformer.so", "libnnopbase.so",
    "libacl_op_compiler.so", "libacl_cblas.so", "libacl_tdt_channel.so", "libacl_tdt_queue.so", "libmsprofiler.so",
    "libcust_opapi.so",
)
INSTALL_FOLDERS = (
    "/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/cann", "/usr/local/Ascend/latest",
    "/usr/local/Ascend/nnrt/latest", "/usr/local/Ascend/nnae/latest", "~/Ascend/ascend-toolkit/latest", "~/Ascend/cann",
    "~/Ascend/latest",
)


class BackendError(RuntimeError):
    """The backend that was asked for cannot serve; the message says why."""


class EmulatorWarning(UserWarning):
    """Nobody asked for the emulator, but it was taken; the message says why."""


class Backend(NamedTuple):
    """The implementation in use."""

    name: str
    reason: str
    symbol: Callable[[str], int]
    libraries: list[str]
    version: Optional[str] = None


def _warn(text: str, category: type[Warning]) -> None:
    """A warning that points to the line that called pyacl, however deep in pyacl it is found."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("pyacl", "importlib"):
        frame = frame.f_back
    warnings.warn_explicit(text, category, frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__"),
                           frame.f_globals.setdefault("__warningregistry__", {}))


def _search_folders() -> list[str]:
    """Folders to look into, in order; "" stands for the loader's own search."""
    folders = [f for f in os.environ.get("PYACL_LIBRARY_PATH", "").split(os.pathsep) if f]
    for variable in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"):
        if os.environ.get(variable):
            folders.append(os.path.join(os.environ[variable], "lib64"))
    folders.append("")
    folders += [os.path.join(os.path.expanduser(f), "lib64") for f in INSTALL_FOLDERS]
    return folders


def _vendor_libraries() -> list[str]:
    """Users' own operators, installed beside CANN's or named by ASCEND_CUSTOM_OPP_PATH."""
    folders = [f for f in os.environ.get("ASCEND_CUSTOM_OPP_PATH", "").split(os.pathsep) if f]
    opp = os.environ.get("ASCEND_OPP_PATH")
    if opp:
        import glob

        folders += sorted(glob.glob(os.path.join(opp, "vendors", "*")))
    return [p for f in folders if os.path.exists(p := os.path.join(f, "op_api", "lib", "libcust_opapi.so"))]


def _open(path: str) -> tuple[Any, str]:
    """A handle, or NULL and what the loader said."""
    dlerror = raw.dlerror  # in the ABI module the look-up of this very function would clear what it has to tell
    handle = raw.dlopen(path.encode(), RTLD_NOW | RTLD_GLOBAL)
    if handle != ffi.NULL:
        return handle, ""
    said = dlerror()
    return handle, ffi.string(said).decode(errors="replace") if said != ffi.NULL else "the loader does not say why"


class _Native:
    """CANN's libraries, opened in order of need."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        self.folder = self._find_runtime()
        self._waiting = [os.path.join(self.folder, n) for n in OTHERS] + _vendor_libraries()

    def _find_runtime(self) -> str:
        tried: list[str] = []
        for folder in _search_folders():
            path = os.path.join(folder, RUNTIME)
            if folder and not os.path.exists(path):
                tried.append(folder)
                continue
            handle, error = _open(path)
            if handle != ffi.NULL:
                self.paths.append(path)
                self._handles.append(handle)
                return folder
            if folder:
                raise BackendError(f"{path} does not load: {error}")
            tried.append("the loader's path")
        raise BackendError(f"no {RUNTIME} in {', '.join(tried)}")

    def symbol(self, name: str) -> int:
        encoded = name.encode()
        for handle in self._handles:
            address = raw.dlsym(handle, encoded)
            if address != ffi.NULL:
                return int(ffi.cast("uintptr_t", address))
        with self._lock:
            while self._waiting:
                path = self._waiting.pop(0)
                if self.folder and os.path.isabs(path) and not os.path.exists(path):
                    continue
                handle, error = _open(path)
                if handle == ffi.NULL:
                    if os.path.exists(path):
                        _warn(f"{path} does not load: {error}", RuntimeWarning)
                    continue
                self.paths.append(path)
                self._handles.append(handle)
                address = raw.dlsym(handle, encoded)
                if address != ffi.NULL:
                    return int(ffi.cast("uintptr_t", address))
        return 0

    def call(self, name: str, pointer_type: str, *args: Any) -> Any:
        address = self.symbol(name)
        return ffi.cast(pointer_type, address)(*args) if address else None

    def device_count(self) -> tuple[int, str]:
        """How many devices answer; with none, why."""
        count = ffi.new("uint32_t *")
        code = self.call("aclrtGetDeviceCount", "aclError(*)(uint32_t *)", count)
        if code:  # some releases want aclInit first; a second one later is harmless
            self.call("aclInit", "aclError(*)(const char *)", ffi.NULL)
            code = self.call("aclrtGetDeviceCount", "aclError(*)(uint32_t *)", count)
        if code is None:
            return 0, f"{self.paths[0]} has no aclrtGetDeviceCount"
        return (count[0], "0 devices answer") if code == 0 else (0, f"aclrtGetDeviceCount failed with {code}")

    def version(self) -> Optional[str]:
        """CANN's version where the installation or the library tells it."""
        found = ffi.new("aclCANNPackageVersion *")
        code = self.call("aclsysGetCANNVersion", "aclError(*)(aclCANNPackageName, aclCANNPackageVersion *)",
                         raw.ACL_PKG_NAME_CANN, found)
        text = ffi.string(found.version).decode(errors="replace") if code == 0 else ""
        return text or None


def _native() -> Backend:
    native = _Native()
    count, why = native.device_count()
    if not count:
        raise BackendError(f"{native.paths[0]} loads, but {why}")
    return Backend("native", f"{native.paths[0]} loads and {count} device{'s answer' if count > 1 else ' answers'}",
                   native.symbol, native.paths, native.version())


def _emulator(reason: str) -> Backend:
    from .. import emulator

    return Backend("emulator", reason, emulator.symbol, [])


def _choose(wanted: str, asked_by: str) -> Backend:
    if wanted == "emulator":
        return _emulator(f"asked for by {asked_by}")
    try:
        return _native()
    except BackendError as error:
        if wanted == "native":
            raise BackendError(f"the native backend was asked for by {asked_by}, but {error}") from None
        reason = str(error)
    _warn(f"pyacl runs on its emulator, not on an NPU: {reason}. Ask for it with PYACL_BACKEND=emulator to silence "
          "this, or with PYACL_BACKEND=native to make it an error", EmulatorWarning)
    return _emulator(reason)


_lock = threading.RLock()
_active: Optional[Backend] = None
_asked: Optional[str] = None
_forked = False


def use_backend(name: str) -> None:
    """Chooses ``"auto"``, ``"native"`` or ``"emulator"`` for this process, before the first C call.

    Stronger than the environment's ``PYACL_BACKEND``. Raises ValueError for another name, and RuntimeError when another
    backend is already in use.
    """
    global _asked
    if name not in NAMES:
        raise ValueError(f"no backend {name!r}: choose one of {', '.join(NAMES)}")
    with _lock:
        if _active is not None and name not in ("auto", _active.name):
            raise RuntimeError(f"the {_active.name} backend is already in use ({_active.reason}): choose before the "
                               "first use of pyacl")
        _asked = name


def active() -> Backend:
    """The backend in use; the first call chooses it."""
    global _active
    if _forked:
        raise ForkError("this process was forked after pyacl was used in its parent, and CANN's state does not survive "
                        "a fork: start workers with multiprocessing.get_context('spawn'), or fork before the first use")
    if _active is None:
        with _lock:
            if _active is None:
                wanted, asked_by = _asked, "use_backend"
                if wanted is None:
                    wanted, asked_by = os.environ.get("PYACL_BACKEND", "auto") or "auto", "PYACL_BACKEND"
                if wanted not in NAMES:
                    raise BackendError(f"PYACL_BACKEND={wanted!r}: choose one of {', '.join(NAMES)}")
                _active = _choose(wanted, asked_by)
    return _active


def forget_after_fork() -> None:
    """In a forked child: every later call explains itself instead of hanging."""
    global _forked, _lock
    _lock = threading.RLock()
    _forked = _active is not None
