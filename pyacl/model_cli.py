"""``pyacl model``: looks into offline models, and runs them on files."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
import zipfile
from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from .cli import CommandError
from .dtypes import Format, to_numpy
from .model_desc import short_names

if TYPE_CHECKING:
    from .emulator.models.describe import ModelInfo, TensorInfo

_LONG = 48  # characters of a name that leave room for the other columns


def add_parser(subparsers: Any) -> None:
    """Adds ``model`` with ``inspect`` and ``run``."""
    parser = subparsers.add_parser("model", help="look into and run offline models")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    inspect = commands.add_parser("inspect", help="inputs, outputs, gears, versions, operators and memory of an .om",
                                  description="Reads an .om on any machine: neither CANN nor a device is needed.")
    inspect.add_argument("file", metavar="FILE.om")
    inspect.add_argument("--json", action="store_true", help="as JSON")
    inspect.set_defaults(run=_inspect)
    run = commands.add_parser("run", help="run an .om on numpy files",
                              description="Runs a model once. Inputs are .npy, .npz (arrays by input name) or .bin "
                                          "(raw bytes of the input's shape); without any they are random.")
    run.add_argument("file", metavar="FILE.om")
    run.add_argument("--input", "-i", nargs="+", default=[], metavar="[NAME=]FILE", help="in order, or named")
    run.add_argument("--output", "-o", metavar="DIR", help="where outputs go, as .npy (default: only shown)")
    run.add_argument("--shape", action="append", default=[], metavar="NAME:D,D,...",
                     help="of a random or .bin input whose dimensions vary")
    run.add_argument("--device", type=int, default=0, metavar="ID")
    run.set_defaults(run=_run)


# inspect

def describe(path: str) -> dict[str, Any]:
    """What an .om says about itself, as plain data. Raises CommandError for what is no model."""
    from .emulator.failure import Failure
    from .emulator.models import container
    from .emulator.models import describe as reader

    try:
        data = container.open_mapped(path)
        parsed = container.parse(data)
        parts = [_model(reader.describe(m)) for m in parsed.models()]
        about: dict[str, Any] = {"bundle": parts} if parts else _model(reader.of_container(parsed))
    except Failure as failure:
        raise CommandError(f"{path}: {failure.text}") from None
    return {"file": path, "bytes": len(data), "format_version": f"{parsed.version:#x}",
            "platform_version": parsed.platform_version, **about}


def _model(info: ModelInfo) -> dict[str, Any]:
    attributes = info.definition.attributes
    gears = info.gears
    named = {"batch": list(gears.batch), "resolution": [list(g) for g in gears.hw],
             "dims": [list(g) for g in gears.dims]}
    return {
        "name": info.name,
        "soc": info.soc,
        "compiler": str(attributes.get("atc_version") or ""),
        "command": str(attributes.get("atc_cmdline") or ""),
        "framework": str(attributes.get("framework_type") or ""),
        "inputs": [_tensor(t) for t in info.inputs],
        "outputs": [_tensor(t) for t in info.outputs],
        "gears": {kind: values for kind, values in named.items() if values},
        "aipp": {name: settings.get("mode") for name, settings in info.aipp.items()},
        "work_bytes": info.work_bytes,
        "weight_bytes": info.weight_bytes,
        "streams": attributes.integer("stream_num"),
        "events": attributes.integer("event_num"),
        "operators": dict(info.operators().most_common()),
        "kernels": [{"name": k.name, "bytes": k.nbytes} for k in info.kernels()],
        "partitions": [{"name": p.name, "type": p.type, "bytes": p.size} for p in info.container.partitions],
    }


def _tensor(info: TensorInfo) -> dict[str, Any]:
    try:
        dtype = to_numpy(info.dtype).name
    except (TypeError, ValueError):
        dtype = f"aclDataType {info.dtype}"
    layout = Format(info.format).name if info.format in Format._value2member_map_ else str(info.format)
    found = {"name": info.name, "dtype": dtype, "shape": list(info.shape), "format": layout, "bytes": info.nbytes}
    if info.shape_range:
        found["ranges"] = [list(r) for r in info.shape_range]
    return found


def _inspect(args: argparse.Namespace) -> int:
    about = describe(args.file)
    if args.json:
        print(json.dumps(about, indent=1))
        return 0
    print(f"{about['file']}: {about['bytes']:,} bytes, .om format {about['format_version']}"
          f"{', platform ' + about['platform_version'] if about['platform_version'] else ''}")
    for part in about.get("bundle", [about]):
        _show(part)
    return 0


def _show(about: dict[str, Any]) -> None:
    from .bench import text

    made = " ".join(filter(None, (about["framework"] and f"from {about['framework']}",
                                  about["compiler"] and f"by {about['compiler']}")))
    _line("model", about["name"] + (f" ({made})" if made else ""))
    _line("SoC", about["soc"] or "not told")
    if about["command"]:
        _line("command", about["command"])
    _line("memory", f"{about['work_bytes']:,} bytes of work, {about['weight_bytes']:,} bytes of weights, "
                    f"{about['streams']} streams, {about['events']} events")
    for what in ("inputs", "outputs"):
        print()
        text.table((what, "type", "shape", "format", "bytes"), [
            (name, t["dtype"], _dims(t), t["format"], f"{t['bytes']:,}")
            for name, t in zip(_names(about[what]), about[what])], left=4)
    print()
    for kind, values in about["gears"].items():
        gears = ["x".join(map(str, v)) if isinstance(v, list) else str(v) for v in values]
        _line("gears", f"{kind}: {', '.join(gears)}")
    for name, mode in about["aipp"].items():
        _line("AIPP", f"{mode}, in front of {name}")
    count = sum(about["operators"].values())
    most = ", ".join(f"{n} {kind}" for kind, n in list(about["operators"].items())[:8])
    _line("operators", f"{count}: {most}{', ...' if len(about['operators']) > 8 else ''}")
    _line("kernels", str(len(about["kernels"])))
    _line("parts", ", ".join(f"{p['name']} {p['bytes']:,}" for p in about["partitions"]))


def _line(what: str, content: str) -> None:
    from .bench import text

    print(textwrap.fill(f"{what:<9} {content}", text.WIDTH, subsequent_indent=" " * 10, break_long_words=False,
                        break_on_hyphens=False))


def _names(tensors: list[dict[str, Any]]) -> list[str]:
    """Their names; where these are long, the last parts, by which pyacl knows them."""
    names = [t["name"] for t in tensors]
    return names if max(map(len, names), default=0) <= _LONG else short_names(names)


def _dims(tensor: dict[str, Any]) -> str:
    ranges = tensor.get("ranges")
    if not ranges:
        return "x".join(map(str, tensor["shape"])) or "scalar"
    return "x".join(str(low) if low == high else f"{low}~{high if high >= 0 else ''}" for low, high in ranges)


# run

def _run(args: argparse.Namespace) -> int:
    from .device import Device
    from .model import Model

    model_file(args.file)
    with Device(args.device), Model.from_file(args.file) as model:
        inputs = load_inputs(model, args.input, parse_shapes(args.shape))
        results = model(*inputs)
    if args.output:
        os.makedirs(args.output, exist_ok=True)
    for info, result in zip(model.outputs, results):
        line = f"{info.name} {result.dtype} {list(result.shape)}"
        if result.size and result.dtype.kind in "fiub":
            line += f": {result.min():g} to {result.max():g}, mean {result.mean():g}"
        if args.output:
            path = os.path.join(args.output, f"{_file_name(info.name)}.npy")
            np.save(path, result)
            line += f" -> {path}"
        print(line)
    return 0


def model_file(path: str) -> None:
    """Raises CommandError for a path at which there is no file."""
    if not os.path.isfile(path):
        raise CommandError(f"{path} is {'a folder' if os.path.isdir(path) else 'not there'}: name an .om file")


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``name:1,3,224,224`` (or several, separated by ``;``) as shapes by name."""
    shapes = {}
    for part in (p for text in texts for p in text.split(";") if p):
        name, colon, dims = part.rpartition(":")
        try:
            shapes[name] = tuple(int(d) for d in dims.split(","))
        except ValueError:
            colon = ""
        if not colon:
            raise CommandError(f"--shape {part}: write name:dim,dim,...")
    return shapes


def load_inputs(model: Any, files: Sequence[str], shapes: Optional[dict[str, tuple[int, ...]]] = None) -> list[Any]:
    """A model's inputs from files, or random ones without any."""
    shapes = shapes or {}
    unknown = set(shapes) - {t.name for t in model.inputs}
    if unknown:
        raise CommandError(f"the model has no input {', '.join(sorted(unknown))}")
    wanted = {t.name: shapes.get(t.name) or some_shape(model, t) for t in model.inputs}
    if not files:
        rng = np.random.default_rng(0)
        return [_random(rng, wanted[t.name], t.dtype) for t in model.inputs]
    found: dict[str, Any] = {}
    order = [t.name for t in model.inputs]
    for position, text in enumerate(files):
        name, equals, path = text.partition("=")
        if not equals or name not in order:
            name, path = (order[position] if position < len(order) else "?"), text
        if not os.path.isfile(path):
            raise CommandError(f"{path}: there is no such file; the model's inputs are {', '.join(order)}")
        if path.endswith(".npz"):
            arrays = _read(path)
            strange = set(arrays) - set(order)
            if strange:
                raise CommandError(f"{path} has {', '.join(sorted(strange))}, the model takes {', '.join(order)}")
            found.update(arrays)
        elif name == "?":
            raise CommandError(f"{path}: the model has only {len(order)} inputs: {', '.join(order)}")
        else:
            found[name] = _load(path, next(t for t in model.inputs if t.name == name), wanted[name])
    missing = [n for n in order if n not in found]
    if missing:
        raise CommandError(f"no file for input {', '.join(missing)}")
    return [found[n] for n in order]


def _read(path: str) -> Any:
    """The array of an .npy file, or those of an .npz by name."""
    try:
        found = np.load(path)
        if not isinstance(found, np.ndarray):
            with found:
                return dict(found)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise CommandError(f"{path} is not a file of numpy's that holds numbers") from None
    return found


def _load(path: str, info: Any, shape: tuple[int, ...]) -> Any:
    if path.endswith(".npy"):
        return _read(path)
    if info.dtype is None:
        raise CommandError(f"{path}: {info.name} has a type that numpy lacks")
    data = np.fromfile(path, np.uint8)
    if data.size != info.nbytes_of(shape):
        raise CommandError(f"{path} has {data.size} bytes, {info.name} takes {info.nbytes_of(shape)}: {info.dtype} "
                           f"{list(shape)}")
    return data.view(info.dtype).reshape(shape)


def some_shape(model: Any, info: Any) -> tuple[int, ...]:
    """The largest gear's shape of an input, or 1 where a dimension is free."""
    desc = model.desc
    if not info.dynamic:
        return tuple(info.shape)
    if desc.batches:
        return tuple(max(desc.batches) if n < 0 else n for n in info.shape)
    if desc.sizes:
        size = iter(max(desc.sizes))
        return tuple(next(size) if n < 0 else n for n in info.shape)
    if desc.dims:
        start = sum(len(t.shape) for t in model.inputs[:model.inputs.index(info)])
        return tuple(max(desc.dims)[start:start + len(info.shape)])
    ranges = info.ranges or ((1, -1),) * len(info.shape)
    return tuple(max(low, 1) if n < 0 else n for n, (low, _) in zip(info.shape, ranges))


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    if dtype is None:
        raise CommandError("an input has a type that numpy lacks: give it as a file")
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.random(shape).astype(dtype)
