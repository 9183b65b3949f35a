"""Compiles ONNX into an .om that the emulator runs: ``pyacl emulator compile``, with the options of CANN's ``atc``.

The result is a true IMOD container: header, partition table, model definition and INOUT_INFO as CANN writes them. The
graph itself stays ONNX, in a partition that other readers skip; the weights are WEIGHTS_DATA.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from ...capi import lib
from ..failure import Failure
from . import container, describe, modeldef, onnx_graph, session, sources
from .describe import AIPP_INPUT, GEAR_INPUT, Gears, TensorInfo

if TYPE_CHECKING:
    import argparse

    from onnx import ModelProto, ValueInfoProto

_MAX_GEARS = 100
FORMATS = ("NCHW", "NHWC", "ND", "NCDHW", "NDHWC")


@dataclass
class Options:
    """What ``atc`` is told. Shapes hold -1 for a dimension that varies, or ``(low, high)`` for a bounded one."""

    input_shape: dict[str, tuple[Union[int, tuple[int, int]], ...]] = field(default_factory=dict)
    dynamic_batch: Sequence[int] = ()
    dynamic_image_size: Sequence[tuple[int, int]] = ()
    dynamic_dims: Sequence[tuple[int, ...]] = ()
    soc: str = ""
    input_format: str = ""
    out_nodes: Sequence[str] = ()
    name: str = ""
    aipp: dict[str, dict[str, Any]] = field(default_factory=dict)  # by input name; "" is the first input
    command: str = ""


def _fail(text: str) -> Failure:
    return Failure(lib.ACL_ERROR_GE_PARAM_INVALID, text)


def compile_model(model: Union[str, os.PathLike[str], ModelProto], options: Optional[Options] = None) -> list[Any]:
    """The parts of an .om, to be written one after another. `Failure` says what does not fit."""
    options = options or Options()
    if options.soc and not re.fullmatch(r"Ascend\d{3}\w*", options.soc):
        raise _fail(f"--soc_version={options.soc}: give a chip's name such as Ascend910B3, as npu-smi info shows it "
                    "behind Ascend, or none for a model that any device takes")
    proto = onnx_graph.load(os.fspath(model)) if isinstance(model, (str, os.PathLike)) else model
    name = options.name or (os.path.splitext(os.path.basename(os.fspath(model)))[0]
                            if isinstance(model, (str, os.PathLike)) else proto.graph.name or "model")
    if options.out_nodes:
        proto = _cut(proto, options.out_nodes)
    graph_bytes, weights = onnx_graph.split(proto)
    skeleton = onnx_graph.require().load_model_from_string(graph_bytes)
    values = onnx_graph.real_inputs(skeleton.graph)
    shapes, ranges = _input_shapes(values, options)
    gears = _gears(shapes, options)
    layout = _layout(options.input_format, shapes)

    variants = [_fill(shapes, gear, options) for gear in gears.values] or [shapes]
    outputs_of = [_output_shapes(skeleton, weights, variant) for variant in variants]
    largest = max(range(len(variants)), key=lambda i: sum(
        describe.nbytes(s, onnx_graph.dtype_of(v)) for v, s in zip(values, variants[i].values())))

    inputs = []
    for value in values:
        dtype = onnx_graph.dtype_of(value)
        inputs.append(TensorInfo(value.name, shapes[value.name], dtype, layout,
                                 describe.nbytes(variants[largest][value.name], dtype), (), ranges.get(value.name, ())))
    if gears.kind:
        inputs.append(TensorInfo(GEAR_INPUT, (len(gears.values[0]),), lib.ACL_INT32, lib.ACL_FORMAT_ND,
                                 4 * len(gears.values[0])))
        gears.order = [v.name for v in values]
        gears.outputs = [(g, o, shape) for g, found in enumerate(outputs_of) for o, shape in enumerate(found)]
    aipp = _apply_aipp(inputs, options.aipp)
    outputs = [TensorInfo(_output_name(skeleton, value.name), shape, onnx_graph.dtype_of(value), layout,
                          describe.nbytes(shape, onnx_graph.dtype_of(value)))
               for value, shape in zip(skeleton.graph.output, outputs_of[largest])]

    fixed = onnx_graph.with_shapes(skeleton, variants[largest])
    session.open_model(fixed, weights)  # what onnxruntime does not take is an error here, not when it is loaded
    attributes = _attributes(options, onnx_graph.working_bytes(fixed), len(weights), outputs)
    if not gears.kind:  # fixed dimensions let onnxruntime plan its memory
        for value in onnx_graph.real_inputs(skeleton.graph):
            onnx_graph.set_shape(value, shapes[value.name])
        del skeleton.graph.value_info[:]
    graph = skeleton.SerializeToString()
    attributes[sources.GRAPH_DIGEST] = sources.digest(graph).hex()
    definition = _definition(name, skeleton, inputs, outputs, gears, layout, attributes, aipp)
    return container.build(name, [
        (container.INOUT_INFO, describe.encode_records(inputs, outputs, gears)),
        (container.MODEL_DEF, definition),
        (container.WEIGHTS_DATA, weights),
        (container.TBE_KERNELS, b""),
        (container.TASK_INFO, b""),
        (container.ONNX_GRAPH, graph),
    ], operators=len(skeleton.graph.node))


def compile_file(model: Union[str, os.PathLike[str], ModelProto], output: Union[str, os.PathLike[str]],
                 options: Optional[Options] = None) -> str:
    """Compiles a file; returns the path written, which ends in ``.om``."""
    path = os.fspath(output)
    path = path if path.endswith(".om") else f"{path}.om"
    options = options or Options()
    options.name = options.name or os.path.splitext(os.path.basename(path))[0]
    write(path, compile_model(model, options))
    return path


def write(path: str, parts: list[Any]) -> None:
    """Writes a file whole or not at all."""
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(partial, path)
    except OSError as error:
        if os.path.exists(partial):
            os.unlink(partial)
        folder = os.path.dirname(path)
        why = f"there is no folder {folder}" if folder and not os.path.isdir(folder) else error.strerror
        raise Failure(lib.ACL_ERROR_WRITE_FILE, f"{path} cannot be written: {why}") from None


def bundle(models: Sequence[bytes], variables: int = 0) -> list[Any]:
    """A bundle of whole models, as parts to be written."""
    for data in models:
        describe.describe(data)
    parts: list[tuple[int, Any]] = [(container.BUNDLE_VARIABLES, variables.to_bytes(8, "little"))]
    parts += [(container.BUNDLE_MODEL, data) for data in models]
    return container.build("bundle", parts, model_type=container.BUNDLE, model_num=len(models))


# Shapes and gears.

Shapes = dict[str, tuple[int, ...]]


def _input_shapes(values: Sequence[ValueInfoProto],
                  options: Options) -> tuple[Shapes, dict[str, tuple[tuple[int, int], ...]]]:
    names = [v.name for v in values]
    unknown = set(options.input_shape) - set(names)
    if unknown:
        raise _fail(f"--input_shape names {', '.join(sorted(unknown))}; the model's inputs are {', '.join(names)}")
    shapes: Shapes = {}
    ranges: dict[str, tuple[tuple[int, int], ...]] = {}
    for value in values:
        own = onnx_graph.shape_of(value)
        given = options.input_shape.get(value.name)
        if given is None:
            if own is None:
                raise _fail(f"the model does not say the rank of input {value.name}: give it with --input_shape")
            shapes[value.name] = own
            continue
        if own is not None and (len(own) != len(given) or any(
                o >= 0 and isinstance(g, int) and g >= 0 and o != g for o, g in zip(own, given))):
            raise _fail(f"--input_shape gives {value.name} {_text(given)}, but the model says {_text(own)}")
        shapes[value.name] = tuple(d if isinstance(d, int) else -1 for d in given)
        if any(not isinstance(d, int) for d in given):
            ranges[value.name] = tuple((d, d if d >= 0 else -1) if isinstance(d, int) else d for d in given)
            ranges[value.name] = tuple((0, -1) if low < 0 else (low, high) for low, high in ranges[value.name])
    return shapes, ranges


def _text(shape: Sequence[Any]) -> str:
    return ",".join(str(d) if isinstance(d, int) else f"{d[0]}~{d[1]}" for d in shape)


def _gears(shapes: Shapes, options: Options) -> Gears:
    given = [n for n in ("dynamic_batch", "dynamic_image_size", "dynamic_dims") if getattr(options, n)]
    if not given:
        return Gears()
    if len(given) > 1:
        raise _fail(f"--{' and --'.join(given)} exclude each other: a model has one kind of gears")
    varying = [(name, i) for name, shape in shapes.items() for i, d in enumerate(shape) if d < 0]
    values: list[tuple[int, ...]]
    if options.dynamic_batch:
        if not varying or any(i != 0 for _, i in varying):
            raise _fail("--dynamic_batch_size wants -1 as the first dimension of the inputs, and nowhere else: "
                        f"{_describe(shapes)}")
        gears = Gears(batch=[int(b) for b in options.dynamic_batch])
        values = [(b,) for b in gears.batch]
    elif options.dynamic_image_size:
        spatial = (2, 3) if options.input_format in ("", "NCHW") else (1, 2)
        if not varying or sorted({i for _, i in varying}) != list(spatial):
            raise _fail(f"--dynamic_image_size wants -1 as height and width of the input (dimensions {spatial} of "
                        f"{options.input_format or 'NCHW'}): {_describe(shapes)}")
        gears = Gears(hw=[(int(h), int(w)) for h, w in options.dynamic_image_size])
        values = [tuple(g) for g in gears.hw]
    else:
        gears = Gears(dims=[tuple(int(d) for d in gear) for gear in options.dynamic_dims])
        values = gears.dims
        for gear in values:
            if len(gear) != len(varying):
                raise _fail(f"--dynamic_dims gives {_text(gear)}, but {len(varying)} dimensions vary: "
                            f"{_describe(shapes)}")
    if not 2 <= len(values) <= _MAX_GEARS or any(d < 1 for gear in values for d in gear):
        raise _fail(f"a model has 2 to {_MAX_GEARS} gears of positive sizes, not {values}")
    if len(set(values)) != len(values):
        raise _fail(f"a gear is given twice: {values}")
    return gears


def _describe(shapes: Shapes) -> str:
    return "; ".join(f"{name}:{_text(shape)}" for name, shape in shapes.items())


def _fill(shapes: Shapes, gear: tuple[int, ...], options: Options) -> Shapes:
    """The shapes of one gear."""
    if options.dynamic_batch:
        return {name: tuple(gear[0] if d < 0 else d for d in shape) for name, shape in shapes.items()}
    if options.dynamic_image_size:
        filled = {}
        for name, shape in shapes.items():
            numbers = iter(gear)
            filled[name] = tuple(next(numbers) if d < 0 else d for d in shape)
        return filled
    numbers = iter(gear)
    return {name: tuple(next(numbers) if d < 0 else d for d in shape) for name, shape in shapes.items()}


def _layout(given: str, shapes: Shapes) -> int:
    """The aclFormat that the inputs are said to have: ``atc`` takes NCHW for ONNX where nothing is given."""
    if given and given not in FORMATS:
        raise _fail(f"--input_format={given}: choose one of {', '.join(FORMATS)}")
    four = any(len(s) == 4 for s in shapes.values())
    return modeldef.format_code(given or ("NCHW" if four else "ND"))


def _output_shapes(skeleton: ModelProto, weights: bytes, shapes: Shapes) -> list[tuple[int, ...]]:
    """The outputs' shapes for given inputs' shapes; -1 where only a run can tell."""
    inferred = onnx_graph.with_shapes(skeleton, shapes)
    found = [onnx_graph.shape_of(v) for v in inferred.graph.output]
    if all(s is not None and -1 not in s for s in found):
        return [s for s in found if s is not None]
    # onnxruntime folds constants, and so knows more.
    runner = session.open_model(inferred, weights)
    sharper = [tuple(d if isinstance(d, int) and d >= 0 else -1 for d in out.shape) for out in runner.get_outputs()]
    # Neither sees through every If and Loop; what the file declares for its own shapes says at least the rank.
    declared = [onnx_graph.shape_of(v) or () for v in skeleton.graph.output]
    return [_sharpest(*shapes) for shapes in zip(found, sharper, declared)]


def _sharpest(inferred: Optional[tuple[int, ...]], folded: tuple[int, ...],
              declared: tuple[int, ...]) -> tuple[int, ...]:
    """One shape from three, each of which may lack dimensions."""
    if inferred is not None:
        return tuple(n if n >= 0 or len(folded) != len(inferred) else f for n, f in zip(inferred, folded or inferred))
    return folded or declared


def _cut(model: ModelProto, nodes: Sequence[str]) -> ModelProto:
    """The model that ends at the given ``node:index`` or tensor names (``--out_nodes``)."""
    onnx = onnx_graph.require()
    by_node = {node.name: node for node in model.graph.node}
    outputs = []
    for text in nodes:
        node, _, index = text.rpartition(":")
        if node in by_node and index.isdigit() and int(index) < len(by_node[node].output):
            outputs.append(by_node[node].output[int(index)])
        elif any(text in n.output for n in model.graph.node):
            outputs.append(text)
        else:
            raise _fail(f"--out_nodes: {text} is neither node:index nor a tensor of the model")
    inferred = onnx.shape_inference.infer_shapes(model)
    try:
        extractor = onnx.utils.Extractor(inferred)
        return extractor.extract_model([v.name for v in onnx_graph.real_inputs(model.graph)],
                                       outputs)
    except Exception as error:
        raise _fail(f"--out_nodes: the model cannot end at {', '.join(nodes)}: {error}") from None


# The parts of the file.

def _output_name(model: ModelProto, tensor: str) -> str:
    """``node:index:tensor``, as ``atc`` names the outputs of an ONNX model."""
    for number, node in enumerate(model.graph.node):
        if tensor in node.output:
            return f"{node.name or f'{node.op_type}_{number}'}:{list(node.output).index(tensor)}:{tensor}"
    return f"{tensor}:0:{tensor}"


def _attributes(options: Options, work: int, weights: int, outputs: list[TensorInfo]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "framework_type": "Onnx", "memory_size": -(-work // 512) * 512, "weight_size": weights, "stream_num": 1,
        "event_num": 0, "attr_model_out_nodes_name": [o.name for o in outputs], "soc_version": options.soc,
        "atc_cmdline": options.command, "atc_version": "pyacl",
    }
    return {key: value for key, value in attributes.items() if value != ""}


def _definition(name: str, model: ModelProto, inputs: list[TensorInfo], outputs: list[TensorInfo], gears: Gears,
                layout: int, attributes: dict[str, Any], aipp: dict[str, dict[str, Any]]) -> bytes:
    label = next((f for f in FORMATS if modeldef.format_code(f) == layout), "ND")
    operators = []
    for i, info in enumerate(inputs):
        own: dict[str, Any] = {"index": i}
        if any(d < 0 for d in info.shape) and gears.kind:
            own["_mbatch_origin_input_dims"] = list(info.shape)
        if info.name in aipp:
            own["_pyacl_aipp"] = json.dumps(aipp[info.name])
        tensor = modeldef.encode_tensor(info.dtype, info.shape, label, info.nbytes)
        operators.append(modeldef.encode_operator(info.name, "Data", [], attributes=own, output_tensors=(tensor,),
                                                  number=i))
    if gears.kind:
        own = {"mbatch_dynamic_type": gears.kind, "_batch_num": len(gears.values),
               "user_designate_shape_order": gears.order}
        own.update({f"_pred_value_{i}": list(gear) for i, gear in enumerate(gears.values)})
        operators.append(modeldef.encode_operator("ascend_mbatch_case", "Case", [f"{GEAR_INPUT}:0"], attributes=own))
    made = {o: (node.name or f"{node.op_type}_{n}", i) for n, node in enumerate(model.graph.node)
            for i, o in enumerate(node.output)}
    for number, node in enumerate(model.graph.node):
        sources = [made.get(i, (i, 0)) for i in node.input if i]
        operators.append(modeldef.encode_operator(node.name or f"{node.op_type}_{number}", node.op_type,
                                                  [f"{n}:{i}" for n, i in sources], number=len(operators)))
    ends = [made.get(v.name, (v.name, 0)) for v in model.graph.output]
    tensors = tuple(modeldef.encode_tensor(o.dtype, o.shape, label, o.nbytes) for o in outputs)
    operators.append(modeldef.encode_operator("Node_Output", "NetOutput", [f"{n}:{i}" for n, i in ends],
                                              input_tensors=tensors, sources=tuple(ends), number=len(operators)))
    return modeldef.encode_model(name, operators, [f"{info.name}:0" for info in inputs], attributes)


def _apply_aipp(inputs: list[TensorInfo], settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Gives the inputs that AIPP feeds the shape of their pictures, and a dynamic one its input of parameters."""
    if not settings:
        return {}
    from . import aipp

    applied = {}
    for name, config in settings.items():
        index = next((i for i, t in enumerate(inputs) if t.name == (name or inputs[0].name)), None)
        if index is None:
            raise _fail(f"--insert_op_conf names input {name}; the inputs are {', '.join(t.name for t in inputs)}")
        info = inputs[index]
        inputs[index], applied[info.name] = aipp.compiled(info, config)
        if applied[info.name]["mode"] == "dynamic":
            inputs.append(TensorInfo(AIPP_INPUT, (aipp.data_size(max(info.shape[0], 1)),), lib.ACL_UINT8,
                                     lib.ACL_FORMAT_ND, aipp.data_size(max(info.shape[0], 1))))
    return applied


# The command line.

def parse_shapes(text: str) -> dict[str, tuple[Union[int, tuple[int, int]], ...]]:
    """``name:1,3,-1,1~224;other:...`` as ``atc`` takes it."""
    shapes: dict[str, tuple[Union[int, tuple[int, int]], ...]] = {}
    for part in filter(None, (p.strip() for p in text.strip("\"' ").split(";"))):
        name, colon, dims = part.rpartition(":")
        if not colon or not name:
            raise _fail(f"--input_shape: {part!r} is not name:dim,dim,...")
        found: list[Union[int, tuple[int, int]]] = []
        for dim in filter(None, (d.strip() for d in dims.split(","))):
            match = re.fullmatch(r"(-?\d+)(?:~(-?\d+))?", dim)
            if not match or int(match[1]) < -1:
                raise _fail(f"--input_shape: {dim!r} is neither a number, -1, nor low~high")
            found.append(int(match[1]) if match[2] is None else (int(match[1]), int(match[2])))
        shapes[name] = tuple(found)
    return shapes


def parse_gears(text: str) -> list[tuple[int, ...]]:
    """``1,2;3,4`` as tuples."""
    try:
        return [tuple(int(n) for n in gear.split(",")) for gear in text.strip("\"' ").split(";") if gear.strip()]
    except ValueError:
        raise _fail(f"{text!r} is not a row of gears such as 1,224;2,448") from None


# Options of atc that steer how a real compiler makes kernels; an emulated model has none.
_IGNORED = tuple("""
    precision_mode precision_mode_v2 op_select_implmode optypelist_for_implmode op_precision_mode log output_type
    op_debug_level op_compiler_cache_mode op_compiler_cache_dir buffer_optimize enable_small_channel
    fusion_switch_file auto_tune_mode debug_dir core_type aicore_num modify_mixlist keep_dtype host_env_os
    host_env_cpu deterministic check_report input_fp16_nodes is_input_adjust_hw_layout is_output_adjust_hw_layout
    virtual_type op_name_map compression_optimize_conf sparsity atomic_clean_policy external_weight jit_compile
    oo_level input_hint_shape optimization_switch enable_single_stream ac_parallel_enable tiling_schedule_optimize
    quant_dumpable customize_dtypes mdl_bank_path op_bank_path display_model_info shape_generalized_build_mode
    dump_mode weight json om mode save_original_model disable_reuse_memory enable_scope_fusion_passes
    allow_hf32 op_debug_config status_check
""".split())


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """The parser of ``pyacl emulator compile``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compile", help="compile an ONNX model into an .om that the emulator runs",
        description="Compiles ONNX into an .om for the emulator. Options are named as atc names them; what only "
                    "steers a real compiler is accepted and has no effect.")

    def option(*names: str, **settings: Any) -> None:
        spellings = [s for n in names for s in dict.fromkeys((f"--{n.replace('_', '-')}", f"--{n}"))]
        parser.add_argument(*dict.fromkeys(spellings), dest=names[0], **settings)

    parser.add_argument("file", nargs="?", metavar="model.onnx", help="the model (or --model)")
    option("model", metavar="FILE", help="the model, as atc takes it")
    option("singleop", metavar="FILE", help="single operators to compile instead, in atc's json format; --output is a "
                                            "folder then")
    option("framework", type=int, default=5, help="5, ONNX, is the only one")
    parser.add_argument("-o", "--output", metavar="FILE", help="the .om to write; by default beside the model")
    option("input_shape", metavar="NAME:D,D;...", default="", help="shapes of the inputs; -1 or low~high varies")
    option("input_shape_range", metavar="NAME:[D,D]", default="", help="the older spelling of ranges")
    option("dynamic_batch_size", "dynamic_batch", metavar="N,N", default="", help="gears of the batch")
    option("dynamic_image_size", metavar="H,W;H,W", default="", help="gears of the resolution")
    option("dynamic_dims", metavar="D,D;D,D", default="", help="gears of all -1 dimensions, in order")
    option("soc_version", "soc", default="", metavar="NAME", help="the device that the model is for (default: any)")
    option("input_format", default="", metavar="|".join(FORMATS), help="layout of the inputs")
    option("out_nodes", default="", metavar="NODE:I;...", help="where the model ends")
    option("insert_op_conf", default="", metavar="FILE", help="AIPP settings")
    for name in _IGNORED:
        option(name, help="==SUPPRESS==")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """``pyacl emulator compile``: 0; 1 when it fails, 2 when options or files do not fit, with the reason on stderr."""
    try:
        if arguments.singleop:
            from ..single_op import compile as single_op

            return single_op.main(arguments.singleop, arguments.output, arguments.soc_version)
        path = _run(arguments)
    except Failure as failure:
        print(f"pyacl emulator compile: {failure.text}", file=sys.stderr)
        wrong = (lib.ACL_ERROR_GE_PARAM_INVALID, lib.ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID, lib.ACL_ERROR_WRITE_FILE)
        return 2 if failure.code in wrong else 1
    info = describe.describe_file(path)
    print(f"{path}: {len(info.inputs)} inputs, {len(info.outputs)} outputs, {os.path.getsize(path)} bytes")
    return 0


def _run(arguments: argparse.Namespace) -> str:
    source = arguments.model or arguments.file
    if not source:
        raise _fail("name the ONNX file to compile")
    if arguments.framework != 5:
        raise _fail(f"--framework={arguments.framework}: the emulator compiles ONNX (5) only")
    from . import aipp

    shapes = parse_shapes(arguments.input_shape or re.sub(r"[\[\]]", "", arguments.input_shape_range))
    options = Options(
        input_shape=shapes,
        dynamic_batch=[n for gear in parse_gears(arguments.dynamic_batch_size) for n in gear],
        dynamic_image_size=[(g[0], g[1]) if len(g) == 2 else _bad_size(g)
                            for g in parse_gears(arguments.dynamic_image_size)],
        dynamic_dims=parse_gears(arguments.dynamic_dims), soc=arguments.soc_version,
        input_format=arguments.input_format, out_nodes=[n for n in arguments.out_nodes.split(";") if n],
        aipp=aipp.read_config(arguments.insert_op_conf) if arguments.insert_op_conf else {},
        command=shlex.join(["pyacl", *sys.argv[1:]]))
    return compile_file(source, arguments.output or os.path.splitext(source)[0], options)


def _bad_size(gear: tuple[int, ...]) -> tuple[int, int]:
    raise _fail(f"--dynamic_image_size: {_text(gear)} is not height,width")
