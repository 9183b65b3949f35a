"""The declarations are those of the real headers, and both cffi modules are made from them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import unpacked

from pyacl.capi import cdefs, ffi, lib

ROOT = Path(__file__).resolve().parent.parent
HEADERS = "torch_npu==2.14.0", "torch_npu/include/"
MANIFEST = ROOT.parent / "shared" / "cann-api"

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")


def run_tool(name: str, *args: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(folder / "tools" / name), *map(str, args)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def headers() -> Path:
    return unpacked(*HEADERS) / "torch_npu" / "include"


def test_no_declaration_is_overlooked() -> None:
    wanted = {m["name"]: (m["returns"].strip(), m["params"])
              for concept in cdefs.order() for m in cdefs._FUNCTION.finditer(cdefs.text(concept))}
    assert len(wanted) > 1500
    assert cdefs._functions() == wanted
    assert cdefs.operators(own=False) == sorted(
        n[:-len("GetWorkspaceSize")] for n in wanted if n.endswith("GetWorkspaceSize")
        and cdefs._built_in_operator(n[:-len("GetWorkspaceSize")]) is not None)


@needs_compiler
def test_every_declaration_agrees_with_the_real_headers(headers: Path) -> None:
    done = run_tool("check_cdefs.py", "--headers", headers)
    assert done.returncode == 0, done.stdout
    checked = dict((k, int(n)) for n, k in re.findall(r"(\d+) ([a-z ]+?)s?(?:,|$)", done.stdout.splitlines()[0]))
    assert checked["function"] > 600
    assert checked["enumerator"] > 600
    assert checked["field"] > 300
    assert "only in these headers: nothing" in done.stdout


MUTATIONS = {
    "function aclrtMalloc": ("memory", "aclrtMalloc(void **devPtr, size_t size", "aclrtMalloc(void **devPtr, int32_t size"),
    "enumerator ACL_BF16": ("base", "ACL_BF16 = 27", "ACL_BF16 = 26"),
    "constant ACL_STREAM_HUGE": ("stream", "ACL_STREAM_HUGE 8", "ACL_STREAM_HUGE 9"),
    "field aclrtStreamConfigHandle.workSize": ("stream", "    size_t workSize;", "    uint32_t workSize;"),
    "typedef aclFloat16": ("base", "typedef uint16_t aclFloat16;", "typedef int16_t aclFloat16;"),
}


@needs_compiler
def test_the_check_finds_each_kind_of_mistake(headers: Path, tmp_path: Path) -> None:
    for folder in ("tools", "cdefs", "pyacl/capi"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for concept, right, wrong in MUTATIONS.values():
        path = tmp_path / "cdefs" / f"{concept}.h"
        assert right in path.read_text()
        path.write_text(path.read_text().replace(right, wrong))
    memory = tmp_path / "cdefs" / "memory.h"
    memory.write_text(memory.read_text().replace("aclrtFree(", "aclrtFreed("))
    done = run_tool("check_cdefs.py", "--headers", headers, folder=tmp_path)
    assert done.returncode == 1
    assert "only in these headers: aclrtFree\n" in done.stdout
    for about in MUTATIONS:
        assert f"{about}:" in done.stdout


def test_declarations_read_from_real_headers_are_the_committed_ones(headers: Path, tmp_path: Path) -> None:
    pytest.importorskip("clang.cindex", reason="needs libclang")
    done = run_tool("gen_cdefs.py", "--headers", headers, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    ours = {n: str(cdefs.prototype(n)) for n in cdefs.functions()}
    theirs = {m["name"]: re.sub(r"\s+", " ", m[0].rstrip(";"))
              for f in tmp_path.glob("*.h") for m in cdefs._FUNCTION.finditer(f.read_text())}
    assert len(theirs) > 600
    unknown = [n for n in theirs if n not in ours]
    assert not unknown
    for name, text in theirs.items():
        parsed = cdefs.parse_parameters(text[text.index("(") + 1:-1])[0]
        prototype = cdefs.prototype(name)
        assert prototype is not None, name
        assert parsed == prototype.params, name


@pytest.mark.skipif(not MANIFEST.is_dir(), reason="the API manifest is not beside this repository")
def test_the_committed_files_are_what_the_generator_writes() -> None:
    done = run_tool("gen_cdefs.py", "--manifest", MANIFEST, "--check")
    assert done.returncode == 0, done.stdout


def test_a_library_without_the_symbols_is_said_to_lack_them() -> None:
    library = next(p for p in Path(sys.executable).resolve().parent.parent.glob("lib/**/*.so"))
    if not shutil.which("nm"):
        pytest.skip("needs nm")
    done = run_tool("check_cdefs.py", "--library", library)
    assert done.returncode == 0
    assert "lacks aclrtMalloc (known from 8.1.RC1" in done.stdout


def test_the_table_is_complete() -> None:
    assert len(cdefs.operators()) >= 1051
    assert len([n for n in cdefs.functions() if not n.endswith("GetWorkspaceSize")]) > 700
    assert not [n for n in cdefs.functions() if n.startswith(("acldvpp", "aclfv", "aclvdec"))]


@pytest.mark.parametrize("text", ["const aclTensor *x, const aclTensor *y, aclTensor *out",
                                  "int64_t range[][2], const aclDataBuffer *const inputs[], aclTensor *out",
                                  "int32_t (*const callback)(const acldumpChunk *, int32_t), double eps"])
def test_parameters_keep_their_types_and_names(text: str) -> None:
    params, variadic = cdefs.parse_parameters(text)
    assert not variadic
    assert [p.name for p in params] == re.findall(r"(?:\*const |\* ?|\s)(\w+)(?=,|$|\[|\)\()", text)
    ffi.typeof(f"void(*)({', '.join(p.type for p in params)})")


def test_a_parameter_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="has no name"):
        cdefs.parse_parameters("const aclTensor *x, int64_t")


def test_every_prototype_is_a_type_that_cffi_knows() -> None:
    for name in cdefs.functions():
        prototype = cdefs.prototype(name)
        assert prototype is not None
        kind = ffi.typeof(prototype.pointer_type)
        assert len(kind.args) == len(prototype.params), name


def test_constants_are_there_without_a_backend() -> None:
    code = ("from pyacl.capi import lib, backend; assert lib.ACL_BF16 == 27 and lib.ACL_ERROR_RT_CONTEXT_NULL == 107002;"
            "assert lib.ACL_DYNAMIC_TENSOR_NAME == 'ascend_mbatch_shape_data'; assert backend._active is None")
    for module in ("abi", "auto"):
        subprocess.run([sys.executable, "-c", code], check=True, env={"PYACL_CFFI": module, "PATH": "/usr/bin:/bin"})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="declare_op"):
        lib.aclrtNoSuchThing  # noqa: B018
