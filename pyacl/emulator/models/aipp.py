"""AIPP: the picture preprocessing in front of a model's input: crop, colour conversion, normalisation, padding.

Static settings come from the compiler (``--insert_op_conf``), dynamic ones from an aclmdlAIPP, which travels to the
device as the bytes of the model's extra input.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

from ...capi import lib
from ..failure import Failure
from .describe import TensorInfo, nbytes

Config = dict[str, Union[str, int, float, bool]]

# Bytes of a pixel, as (numerator, denominator).
_DEPTH = {"YUV420SP_U8": (3, 2), "YUV422SP_U8": (2, 1), "YUYV_U8": (2, 1), "YUV400_U8": (1, 1), "RGB888_U8": (3, 1),
          "XRGB8888_U8": (4, 1), "ARGB8888_U8": (4, 1), "AYUV444_U8": (4, 1)}
FORMATS = {getattr(lib, f"ACL_{name}"): name for name in _DEPTH}

_HEAD = struct.Struct("<BbbbB3xii9h6x3B3B2x16x")
_BATCH = struct.Struct("<bbbb4xiiiiiiiiiiii4h4e4e16x")


@dataclass
class Batch:
    """What may differ from picture to picture."""

    crop: Optional[tuple[int, int, int, int]] = None  # x, y, width, height
    padding: Optional[tuple[int, int, int, int]] = None  # top, bottom, left, right
    mean: tuple[int, ...] = (0, 0, 0, 0)
    minimum: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    reciprocal: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    scaled: bool = False


@dataclass
class Parameters:
    """An aclmdlAIPP, or the compiler's settings in the same form."""

    format: int = 0
    width: int = 0
    height: int = 0
    csc: bool = False
    matrix: tuple[int, ...] = (0,) * 9
    output_bias: tuple[int, ...] = (0, 0, 0)
    input_bias: tuple[int, ...] = (0, 0, 0)
    swap_rb: bool = False
    swap_ax: bool = False
    batches: list[Batch] = field(default_factory=lambda: [Batch()])


def data_size(batch: int) -> int:
    """The bytes of the parameters for so many pictures."""
    return _HEAD.size + _BATCH.size * batch


def encode(p: Parameters) -> bytes:
    out = _HEAD.pack(p.format, p.csc, p.swap_rb, p.swap_ax, len(p.batches), p.width, p.height, *p.matrix,
                     *p.output_bias, *p.input_bias)
    for b in p.batches:
        out += _BATCH.pack(b.crop is not None, b.scaled, b.padding is not None, 0, *(b.crop or (0,) * 4), 0, 0, 0, 0,
                           *(b.padding or (0,) * 4), *b.mean, *b.minimum, *b.reciprocal)
    return out


def decode(data: npt.NDArray[np.uint8]) -> Parameters:
    """Parameters from device memory; fails where none were set."""
    raw = data.tobytes()
    if len(raw) < _HEAD.size + _BATCH.size:
        raise Failure(lib.ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID, f"the AIPP input has {len(raw)} bytes only")
    kind, csc, rb, ax, count, width, height, *rest = _HEAD.unpack_from(raw)
    if kind not in FORMATS or not 1 <= count <= (len(raw) - _HEAD.size) // _BATCH.size:
        raise Failure(lib.ACL_ERROR_GE_AIPP_NOT_EXIST, "no AIPP parameters were set: call aclmdlSetInputAIPP before")
    batches = []
    for i in range(count):
        crop, scaled, padding, _, *n = _BATCH.unpack_from(raw, _HEAD.size + i * _BATCH.size)
        batches.append(Batch(tuple(n[0:4]) if crop else None, tuple(n[8:12]) if padding else None,
                             tuple(n[12:16]), tuple(n[16:20]), tuple(n[20:24]), bool(scaled)))
    return Parameters(kind, width, height, bool(csc), tuple(rest[0:9]), tuple(rest[9:12]), tuple(rest[12:15]), bool(rb),
                      bool(ax), batches)


def picture_bytes(kind: int, width: int, height: int) -> int:
    numerator, denominator = _DEPTH[FORMATS[kind]]
    return width * height * numerator // denominator


def check(p: Parameters, batch: int, height: int, width: int, index: int) -> None:
    """Fails unless every picture comes out at the model's size."""
    if len(p.batches) != batch:
        raise Failure(lib.ACL_ERROR_GE_AIPP_BATCH_EMPTY, f"the AIPP parameters are for {len(p.batches)} pictures, "
                      f"input {index} takes {batch}")
    if p.format not in FORMATS or not p.width or not p.height:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "the AIPP parameters lack the picture's format or size "
                      "(aclmdlSetAIPPInputFormat, aclmdlSetAIPPSrcImageSize)")
    for number, b in enumerate(p.batches):
        if b.scaled:
            raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, "AIPP scaling (scf) is not available on this product")
        x, y, w, h = b.crop or (0, 0, p.width, p.height)
        if x + w > p.width or y + h > p.height:
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"picture {number}: the crop of {w}x{h} at ({x}, {y}) goes "
                          f"past the picture of {p.width}x{p.height}")
        top, bottom, left, right = b.padding or (0, 0, 0, 0)
        if (h + top + bottom, w + left + right) != (height, width):
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"picture {number} comes out of AIPP as "
                          f"{w + left + right}x{h + top + bottom}, the model takes {width}x{height}")


def _planes(p: Parameters, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A picture as height x width x channels; YUV planes are brought to full resolution."""
    name, h, w = FORMATS[p.format], p.height, p.width
    if name == "YUV420SP_U8":
        y = raw[:h * w].reshape(h, w)
        uv = raw[h * w:h * w * 3 // 2].reshape(h // 2, w // 2, 2).repeat(2, 0).repeat(2, 1)
        picture = np.dstack([y, uv])
    elif name == "YUV422SP_U8":
        y = raw[:h * w].reshape(h, w)
        picture = np.dstack([y, raw[h * w:2 * h * w].reshape(h, w // 2, 2).repeat(2, 1)])
    elif name == "YUYV_U8":
        pairs = raw.reshape(h, w // 2, 4)
        y = pairs[:, :, 0::2].reshape(h, w)
        picture = np.dstack([y, pairs[:, :, 1::2].repeat(2, 1)])
    elif name == "YUV400_U8":
        picture = raw.reshape(h, w, 1)
    else:
        picture = raw.reshape(h, w, -1)
        if picture.shape[2] == 4:  # X or A comes first; swapped, last
            picture = picture[:, :, :3] if p.swap_ax else picture[:, :, 1:]
    if p.swap_rb and picture.shape[2] == 3:
        picture = picture[:, :, [0, 2, 1]] if name.startswith(("YUV", "AYUV", "YUYV")) else picture[:, :, ::-1]
    return picture.astype(np.float32)


def _one(p: Parameters, b: Batch, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    picture: npt.NDArray[Any] = _planes(p, raw)
    x, y, w, h = b.crop or (0, 0, p.width, p.height)
    picture = picture[y:y + h, x:x + w]
    if p.csc and picture.shape[2] == 3:
        matrix = np.array(p.matrix, np.float32).reshape(3, 3) / 256
        picture = (picture - np.array(p.input_bias, np.float32)) @ matrix.T + np.array(p.output_bias, np.float32)
        picture = np.clip(np.rint(picture), 0, 255).astype(np.float32)
    n = picture.shape[2]
    mean, minimum, scale = (np.array(v[:n], np.float32) for v in (b.mean, b.minimum, b.reciprocal))
    picture = ((picture - mean - minimum) * scale).astype(np.float32, copy=False)
    top, bottom, left, right = b.padding or (0, 0, 0, 0)
    return np.pad(picture, ((top, bottom), (left, right), (0, 0))).astype(np.float32, copy=False)


def prepare(settings: dict[str, Any], data: npt.NDArray[np.uint8],
            parameters: Optional[Parameters]) -> npt.NDArray[Any]:
    """The model's own input from pictures in memory."""
    from .sources import dtype_to_numpy

    p = parameters if settings["mode"] == "dynamic" else static_parameters(settings)
    if p is None:
        raise Failure(lib.ACL_ERROR_GE_AIPP_NOT_EXIST, "no AIPP parameters were set: call aclmdlSetInputAIPP before")
    shape = tuple(settings["shape"])
    size = picture_bytes(p.format, p.width, p.height)
    if size * len(p.batches) > len(data):
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"{len(p.batches)} pictures of {size} bytes do not fit the "
                      f"input's {len(data)} bytes")
    pictures = np.stack([_one(p, b, data[i * size:(i + 1) * size]) for i, b in enumerate(p.batches)])
    if settings["layout"] == "NCHW":
        pictures = pictures.transpose(0, 3, 1, 2)
    if pictures.shape != shape:
        raise Failure(lib.ACL_ERROR_GE_SHAPE_INVALID, f"AIPP made {list(pictures.shape)}, not {list(shape)}")
    return np.ascontiguousarray(pictures, dtype_to_numpy(settings["dtype"]))


# The compiler's side.

def read_config(path: str) -> dict[str, Config]:
    """The settings of ``--insert_op_conf`` by the input they are for: its name, or "" for the first."""
    try:
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"#.*", "", file.read())
    except OSError as error:
        raise Failure(lib.ACL_ERROR_INVALID_FILE, f"--insert_op_conf: {error}") from None
    found: dict[str, Config] = {}
    for body in re.findall(r"aipp_op\s*\{([^{}]*)\}", text):
        config: Config = {key: _scalar(value) for key, value in re.findall(r"(\w+)\s*:\s*\"?([^\s\"]+)\"?", body)}
        found[str(config.get("related_input_name", ""))] = config
    if not found:
        raise Failure(lib.ACL_ERROR_PARSE_FILE, f"{path} has no aipp_op {{ ... }}")
    return found


def _scalar(text: str) -> Union[str, int, float, bool]:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def compiled(info: TensorInfo, config: Config) -> tuple[TensorInfo, dict[str, Any]]:
    """The input as the user sees it, and the settings that the file carries."""
    mode = str(config.get("aipp_mode", "static"))
    if mode not in ("static", "dynamic") or len(info.shape) != 4 or any(d < 0 for d in info.shape):
        raise Failure(lib.ACL_ERROR_GE_AIPP_MODE_INVALID, f"AIPP ({mode}) wants an input of four fixed dimensions; "
                      f"{info.name} is {list(info.shape)}")
    layout = "NHWC" if info.format == lib.ACL_FORMAT_NHWC else "NCHW"
    n, h, w = (info.shape[0], *(info.shape[1:3] if layout == "NHWC" else info.shape[2:4]))
    settings: dict[str, Any] = {"mode": mode, "shape": list(info.shape), "dtype": info.dtype, "layout": layout,
                                "config": dict(config)}
    if mode == "dynamic":
        size = config.get("max_src_image_size", nbytes((h, w, 4), lib.ACL_UINT8))
        shape = (n, int(size))
        return replace(info, shape=info.shape, shape_v2=shape, dtype=lib.ACL_UINT8, nbytes=n * int(size)), settings
    name = str(config.get("input_format", ""))
    if name not in _DEPTH:
        raise Failure(lib.ACL_ERROR_GE_FORMAT_INVALID, f"AIPP input_format {name!r}: choose one of {', '.join(_DEPTH)}")
    width, height = int(config.get("src_image_size_w", w) or w), int(config.get("src_image_size_h", h) or h)
    settings["config"].update(src_image_size_w=width, src_image_size_h=height)
    check(static_parameters(settings), n, h, w, 0)
    numerator, denominator = _DEPTH[name]
    channels = 1 if name in ("YUV400_U8", "YUV420SP_U8", "YUV422SP_U8") else numerator
    rows = height * numerator // denominator if name in ("YUV420SP_U8", "YUV422SP_U8") else height
    picture = (n, height, width, channels if name not in ("YUV420SP_U8", "YUV422SP_U8") else 3)
    return replace(info, shape=picture, shape_v2=(n, rows, width, channels), dtype=lib.ACL_UINT8,
                   format=lib.ACL_FORMAT_NHWC, nbytes=n * height * width * numerator // denominator), settings


def static_parameters(settings: dict[str, Any]) -> Parameters:
    """A compiler's settings as parameters."""
    config = settings["config"]

    def numbers(pattern: str, count: int, default: Any = 0) -> tuple[Any, ...]:
        return tuple(config.get(pattern.format(i), default) for i in range(count))

    width, height = int(config["src_image_size_w"]), int(config["src_image_size_h"])
    batch = Batch(mean=numbers("mean_chn_{}", 4), minimum=numbers("min_chn_{}", 4, 0.0),
                  reciprocal=numbers("var_reci_chn_{}", 4, 1.0))
    if config.get("crop"):
        x, y = int(config.get("load_start_pos_w", 0)), int(config.get("load_start_pos_h", 0))
        rows = settings["shape"][1:3] if settings["layout"] == "NHWC" else settings["shape"][2:4]
        batch.crop = (x, y, int(config.get("crop_size_w", rows[1])), int(config.get("crop_size_h", rows[0])))
    if config.get("padding"):
        batch.padding = tuple(int(config.get(f"{side}_padding_size", 0))  # type: ignore[assignment]
                              for side in ("top", "bottom", "left", "right"))
    matrix = tuple(int(config.get(f"matrix_r{r}c{c}", 0)) for r in range(3) for c in range(3))
    kind = getattr(lib, f"ACL_{config['input_format']}")
    return Parameters(kind, width, height, bool(config.get("csc_switch")), matrix,
                      numbers("output_bias_{}", 3), numbers("input_bias_{}", 3), bool(config.get("rbuv_swap_switch")),
                      bool(config.get("ax_swap_switch")), [replace(batch) for _ in range(settings["shape"][0])])

