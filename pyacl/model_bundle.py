"""Bundles: several models in one file (aclmdlBundle*)."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional

from . import errors
from .c_string import c_string
from .capi import ffi, lib
from .context import Context, switched
from .memory import DeviceBuffer, host_bytes
from .model import Model, ModelSize, _block
from .model_config import LoadConfig
from .model_desc import Path
from .resource import Resource


class BundleSize(NamedTuple):
    """Bytes that a bundle needs on the device: its variables, and each of its models."""

    variables: int
    models: tuple[ModelSize, ...]


class ModelBundle(Resource):
    """A file of several models. `models` are loaded at once by `from_file` and `from_bytes`; with ``load=False`` one by
    one, by `load`. Closing it unloads them all.

    ``size``  how many models it has
    """

    __slots__ = ("models", "size", "_kept")

    models: list[Model]
    size: int
    _kept: list[Any]

    _has_children = True

    def __init__(self) -> None:
        raise TypeError("make a ModelBundle with ModelBundle.from_file(path) or ModelBundle.from_bytes(data)")

    @classmethod
    def from_file(cls, path: Path, *, load: bool = True, variables: Optional[DeviceBuffer] = None) -> ModelBundle:
        """Opens a bundle (aclmdlBundleLoadFromFile, or with ``load=False`` or `variables` aclmdlBundleInitFromFile)."""
        name = c_string(path, "the path")
        return cls._open((name,), "File", load, variables, cls.query_size(path))

    @classmethod
    def from_bytes(cls, data: Any, *, load: bool = True, variables: Optional[DeviceBuffer] = None) -> ModelBundle:
        """Opens a bundle's bytes, which are kept as long as the bundle."""
        view = host_bytes(data)
        return cls._open((view, len(view)), "Mem", load, variables, cls.query_size(data))

    @classmethod
    def _open(cls, source: tuple[Any, ...], kind: str, load: bool, variables: Optional[DeviceBuffer],
              size: BundleSize) -> ModelBundle:
        bundle = cls.__new__(cls)
        context = Context.current()
        out = ffi.new("uint32_t *")
        at_once = load and variables is None
        args = (*source, out) if at_once else (*source, *_block(variables), out)
        function = f"aclmdlBundle{'Load' if at_once else 'Init'}From{kind}"
        errors.check(getattr(lib, function)(*args), function)
        bundle.models = []
        bundle.size = len(size.models)
        bundle._kept = [*source, variables]
        bundle._own(out[0], context)
        try:
            for i in range(bundle.size if load else 0):
                if not at_once:
                    bundle.load(i)
                    continue
                errors.check(lib.aclmdlBundleGetModelId(bundle.handle, i, out), "aclmdlBundleGetModelId")
                bundle._add(out[0])
        except BaseException:
            bundle.close()
            raise
        return bundle

    @staticmethod
    def query_size(source: Any) -> BundleSize:
        """What a bundle's file (a path) or bytes need on the device (aclmdlBundleQueryInfoFromFile, ...)."""
        info = lib.aclmdlBundleCreateQueryInfo()
        try:
            if isinstance(source, (str, os.PathLike)):
                code, function = lib.aclmdlBundleQueryInfoFromFile(c_string(source, "the path"), info), "FromFile"
            else:
                view = host_bytes(source)
                code, function = lib.aclmdlBundleQueryInfoFromMem(view, len(view), info), "FromMem"
            errors.check(code, f"aclmdlBundleQueryInfo{function}")
            number, work, weights = (ffi.new("size_t *") for _ in range(3))
            errors.check(lib.aclmdlBundleGetVarWeightSize(info, number), "aclmdlBundleGetVarWeightSize")
            variables = int(number[0])
            errors.check(lib.aclmdlBundleGetQueryModelNum(info, number), "aclmdlBundleGetQueryModelNum")
            sizes = []
            for i in range(number[0]):
                errors.check(lib.aclmdlBundleGetSize(info, i, work, weights), "aclmdlBundleGetSize")
                sizes.append(ModelSize(int(work[0]), int(weights[0])))
            return BundleSize(variables, tuple(sizes))
        finally:
            lib.aclmdlBundleDestroyQueryInfo(info)

    def load(self, index: int, *, work: Optional[DeviceBuffer] = None, weights: Optional[DeviceBuffer] = None,
             config: Optional[LoadConfig] = None) -> Model:
        """Loads one model (aclmdlBundleLoadModel, ...WithMem, ...WithConfig)."""
        out = ffi.new("uint32_t *")
        if config is not None:
            code = lib.aclmdlBundleLoadModelWithConfig(self.handle, index, config.handle, out)
            errors.check(code, "aclmdlBundleLoadModelWithConfig")
        elif work is not None or weights is not None:
            code = lib.aclmdlBundleLoadModelWithMem(self.handle, index, *_block(work), *_block(weights), out)
            errors.check(code, "aclmdlBundleLoadModelWithMem")
        else:
            errors.check(lib.aclmdlBundleLoadModel(self.handle, index, out), "aclmdlBundleLoadModel")
        return self._add(out[0], work, weights, config)

    def _add(self, model_id: int, *kept: Any) -> Model:
        model = _Part.__new__(_Part)
        model._adopt(model_id, self, *kept)
        self.models.append(model)
        return model

    def _release(self) -> None:
        with switched(self._parent):
            errors.check(lib.aclmdlBundleUnload(self.handle), "aclmdlBundleUnload")
        self._kept, self.models = [], []

    def _describe(self) -> str:
        return f"of {self.size} models"


class _Part(Model):
    """A model of a bundle: the bundle unloads it."""

    __slots__ = ()

    _warns = False

    def _release(self) -> None:
        bundle = self._parent
        assert isinstance(bundle, ModelBundle)
        with switched(self._context()):
            errors.check(lib.aclmdlBundleUnloadModel(bundle.handle, self.handle), "aclmdlBundleUnloadModel")
        if self in bundle.models:
            bundle.models.remove(self)
        self._kept = []
