"""Parameters of dynamic AIPP, the picture preprocessing in front of a model (aclmdlAIPP)."""

from __future__ import annotations

from typing import Iterable, Optional, Sequence, Union

from . import errors
from .capi import ffi, lib
from .resource import Resource


class Aipp(Resource):
    """How pictures become a model's input: `input_format` such as "RGB888_U8", their `size` (width, height), and what
    the methods add. Given to `Binding.set_aipp`. The order is: crop, colour conversion, normalisation, padding.

    Methods with `picture` set one picture of the batch, or with None all of them.
    """

    __slots__ = ("batch",)

    _warns = False

    def __init__(self, input_format: str, size: tuple[int, int], *, batch: int = 1) -> None:
        handle = lib.aclmdlCreateAIPP(batch)
        if handle == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_INVALID_PARAM, "aclmdlCreateAIPP")
        self.batch = batch
        self._own(handle)
        name = input_format.upper()
        code = getattr(lib, name if name.startswith("ACL_") else f"ACL_{name}", None)
        if code is None:
            raise ValueError(f"no AIPP input format {input_format!r}")
        self._call("aclmdlSetAIPPInputFormat", code)
        self._call("aclmdlSetAIPPSrcImageSize", *size)

    def _call(self, function: str, *args: Union[int, float]) -> None:
        errors.check(getattr(lib, function)(self.handle, *args), function)

    def _each(self, picture: Optional[int]) -> Iterable[int]:
        return range(self.batch) if picture is None else (picture,)

    def csc(self, matrix: Sequence[Sequence[int]], *, output_bias: Sequence[int] = (0, 0, 0),
            input_bias: Sequence[int] = (0, 0, 0)) -> None:
        """Colour conversion: 256 times the 3 x 3 matrix, and biases."""
        if [len(row) for row in (*matrix, output_bias, input_bias)] != [3] * 5:
            raise ValueError("the matrix has three rows of three numbers, and each bias three")
        self._call("aclmdlSetAIPPCscParams", 1, *(n for row in matrix for n in row), *output_bias, *input_bias)

    def swap(self, *, rb_uv: bool = False, ax: bool = False) -> None:
        """Exchanges R and B (U and V), and takes the fourth channel as the last instead of the first."""
        self._call("aclmdlSetAIPPRbuvSwapSwitch", int(rb_uv))
        self._call("aclmdlSetAIPPAxSwapSwitch", int(ax))

    def crop(self, x: int, y: int, width: int, height: int, *, picture: Optional[int] = None) -> None:
        """Takes this part of a picture."""
        for i in self._each(picture):
            self._call("aclmdlSetAIPPCropParams", 1, x, y, width, height, i)

    def scale(self, source: tuple[int, int], target: tuple[int, int], *, picture: Optional[int] = None) -> None:
        """Scales from one (width, height) to another, on products that can."""
        for i in self._each(picture):
            self._call("aclmdlSetAIPPScfParams", 1, *source, *target, i)

    def pad(self, top: int, bottom: int, left: int, right: int, *, picture: Optional[int] = None) -> None:
        """Adds this many pixels of 0 on each side."""
        for i in self._each(picture):
            self._call("aclmdlSetAIPPPaddingParams", 1, top, bottom, left, right, i)

    def normalize(self, *, mean: Sequence[int] = (0, 0, 0, 0), minimum: Sequence[float] = (0, 0, 0, 0),
                  reciprocal: Sequence[float] = (1, 1, 1, 1), picture: Optional[int] = None) -> None:
        """(pixel - mean - minimum) * reciprocal, by channel; up to four of each."""
        for i in self._each(picture):
            self._call("aclmdlSetAIPPDtcPixelMean", *_four(mean, 0), i)
            self._call("aclmdlSetAIPPDtcPixelMin", *_four(minimum, 0), i)
            self._call("aclmdlSetAIPPPixelVarReci", *_four(reciprocal, 1), i)

    def _release(self) -> None:
        errors.check(lib.aclmdlDestroyAIPP(self.handle), "aclmdlDestroyAIPP")


def _four(values: Sequence[float], default: float) -> list[float]:
    if not 1 <= len(values) <= 4:
        raise ValueError(f"{values!r}: give one to four channels")
    return [*values, *[default] * (4 - len(values))]
