"""Write ``cdefs/`` and ``pyacl/capi/releases.json`` from CANN's C interface facts.

    python tools/gen_cdefs.py --manifest DIR        # acl.json, aclnn_base.json, aclnn_ops.json
    python tools/gen_cdefs.py --headers DIR         # real headers: an installed CANN's include folder
    python tools/gen_cdefs.py --manifest DIR --check  # write nothing, fail on a difference

``cdefs/`` is the one place where a C name, type or value is written; everything else is built from it or checked
against it. A file is one concept, in the order of ``cdefs/ORDER``; a type stands in the first file that needs it.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any, Iterator

ROOT = Path(__file__).resolve().parent.parent
CDEFS = ROOT / "cdefs"
RELEASES = ROOT / "pyacl" / "capi" / "releases.json"

Entry = dict[str, Any]
Tables = dict[str, dict[str, Any]]

# The media interfaces are not part of the product yet.
LEFT_OUT_HEADERS = ("acl/ops/acl_dvpp.h", "acl/ops/acl_fv.h")

# concept -> functions, enums, structs, typedefs and constants whose name matches; the first match in this order wins.
MATCHES: list[tuple[str, str]] = [
    ("errors", r"ACL_ERROR_|ACL_SUCCESS$|ACLNN_"),
    ("graph", r"aclmdlRI|ACL_MODEL_RI_|ACL_EVENT_(RECORD|WAIT)_EXTERNAL$"),
    ("model", r"aclmdl|aclAipp|ACL_(MDL|DYNAMIC_|AIPP)|ACL_ATTR_NAME"),
    ("kernel", r"aclrt(Binary|KernelArgs|Launch.*Kernel|LaunchKernel|Function|GetFunction|RegisterCpuFunc|CreateBinary"
               r"|DestroyBinary|GetFuncBySymbol|GetHardwareSyncAddr|PlaceHolder|.*FromExceptionInfo$)|ACL_RT_BINARY"
               r"|ACL_RT_LAUNCH|ACL_KERNEL"),
    ("allocator", r"aclrtAllocator"),
    ("stream", r"aclrt(.*Stream(?!WaitEvent).*|ActiveStream|PersistentTaskClean)$|ACL_STREAM"),
    ("event", r"aclrt.*Event|ACL_EVENT"),
    ("notify", r"aclrt.*(Notify|Cnt)|ACL_(CNT)?NOTIFY|ACL_CNT"),
    ("label", r"aclrt.*(Label|SwitchLabel)"),
    ("callback", r"aclrt(LaunchCallback|.*Report$|.*HostFunc|.*Callback|.*ExceptionInfo|SetExceptionInfoCallback)"),
    ("memory", r"aclrt(.*(Mem|Malloc|Free|Host|Ipc|Pointer|PtrAttr|Value|Cmo|Mbuf|Physical|Reserve|Granularity).*)"
               r"|ACL_(MEM|HOST|RT_MEM|RT_IPC|HBM|DDR)|aclrtUnmapMem"),
    ("context", r"aclrt.*(Context|Ctx)"),
    ("device", r"aclrt.*"),
    ("cblas", r"aclblas|aclTransType|aclComputeType"),
    ("op_compiler", r"aclop(Compile|SetCompileFlag|.*Compile)|aclSetCompileopt|aclGetCompileopt|acl.*Graph|aclGen"
                    r"|ACL_COMPILE|aclop.*Compil"),
    ("op", r"aclop"),
    ("tensor_desc", r"acl(.*TensorDesc.*|SetTensor(Const|PlaceMent|Shape|Origin|Storage|Format|Value|Dynamic).*"
                    r"|TransTensor.*)"),
    ("data_buffer", r"acl.*DataBuffer|aclGetDataBuffer|aclDataDeallocator"),
    ("queue", r"acltdt.*(Queue|Buf|Enqueue|Dequeue|Group)|ACL_TDT_QUEUE|ACL_TDTQUEUE"),
    ("tdt", r"acltdt|ACL_TENSOR_DATA"),
    ("prof", r"aclprof|ACL_PROF|ACL_STEP|ACL_OP_|ACL_SUBSCRIBE"),
    ("dump", r"acldump|ACL_DUMP"),
    ("super_kernel", r"aclsk|ACLSK"),
    ("platform", r"aclplatform"),
]
BY_HEADER = {"aclnn/acl_meta.h": "aclnn", "aclnn/aclnn_base.h": "aclnn"}
ORDER = [
    "base", "errors", "device", "context", "stream", "event", "notify", "label", "callback", "memory", "data_buffer",
    "tensor_desc", "allocator", "kernel", "model", "graph", "op", "op_compiler", "cblas", "tdt", "queue", "prof",
    "dump", "platform", "super_kernel", "aclnn", "aclnn_math", "aclnn_nn", "aclnn_cv", "aclnn_transformer",
    "aclnn_other",
]
ABOUT = {
    "base": "What every other file needs: initialisation, versions, error text, data types and formats.",
    "errors": "Status codes.",
    "aclnn": "Parameter objects and executors of the aclnn operators.",
}
for _family in ("math", "nn", "cv", "transformer", "other"):
    ABOUT[f"aclnn_{_family}"] = (
        "First phases of aclnn operators. Every second phase is\n"
        "   aclnnStatus NAME(void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream)\n"
        "   unless it is declared here."
    )

# aclnn's status codes stand in CANN's documents, not in the public headers.
ACLNN_STATUS = {
    "ACLNN_SUCCESS": 0, "ACLNN_ERR_PARAM_NULLPTR": 161001, "ACLNN_ERR_PARAM_INVALID": 161002,
    "ACLNN_ERR_RUNTIME_ERROR": 361001, "ACLNN_ERR_INNER": 561000, "ACLNN_ERR_INNER_INFERSHAPE_ERROR": 561001,
    "ACLNN_ERR_INNER_TILING_ERROR": 561002, "ACLNN_ERR_INNER_FIND_KERNEL_ERROR": 561003,
    "ACLNN_ERR_INNER_CREATE_EXECUTOR": 561101, "ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR": 561102,
    "ACLNN_ERR_INNER_NULLPTR": 561103, "ACLNN_ERR_INNER_WRONG_ATTR_INFO_SIZE": 561104,
    "ACLNN_ERR_INNER_KEY_CONFLICT": 561105, "ACLNN_ERR_INNER_INVALID_IMPL_MODE": 561106,
    "ACLNN_ERR_INNER_OPP_PATH_NOT_FOUND": 561107, "ACLNN_ERR_INNER_LOAD_JSON_FAILED": 561108,
    "ACLNN_ERR_INNER_JSON_VALUE_NOT_FOUND": 561109, "ACLNN_ERR_INNER_JSON_FORMAT_INVALID": 561110,
    "ACLNN_ERR_INNER_JSON_DTYPE_INVALID": 561111, "ACLNN_ERR_INNER_OPP_KERNEL_PKG_NOT_FOUND": 561112,
    "ACLNN_ERR_INNER_OP_FILE_INVALID": 561113, "ACLNN_ERR_INNER_ATTR_NUM_OUT_OF_BOUND": 561114,
    "ACLNN_ERR_INNER_ATTR_LEN_NOT_ENOUGH": 561115, "ACLNN_ERR_INNER_INPUT_NUM_IN_JSON_TOO_LARGE": 561116,
    "ACLNN_ERR_INNER_INPUT_JSON_IS_NULL": 561117, "ACLNN_ERR_INNER_STATIC_WORKSPACE_INVALID": 561118,
    "ACLNN_ERR_INNER_STATIC_BLOCK_DIM_INVALID": 561119,
}
# Documented codes that no header of the manifest has.
DOCUMENTED_ERRORS: dict[str, int] = {}


def declarator(ctype: str, name: str) -> str:
    """``("int64_t [][2]", "range") -> "int64_t range[][2]"``, and so on for pointers and function pointers."""
    if "(*" in ctype:
        head, tail = re.match(r"(.*\(\*\s*(?:const)?)\s*(\).*)", ctype).groups()  # type: ignore[union-attr]
        return f"{head} {name}{tail}" if head.endswith("const") else f"{head}{name}{tail}"
    head, bracket, tail = ctype.partition("[")
    head = head.rstrip()
    return f"{head}{'' if head.endswith('*') else ' '}{name}{bracket}{tail}"


def dims(length: Any) -> str:
    if length is None:
        return ""
    return "".join(f"[{n}]" for n in (length if isinstance(length, list) else [length]))


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


class Writer:
    """Distributes the declarations of `tables` over the concepts and prints them."""

    def __init__(self, tables: Tables, operators: Tables) -> None:
        self.functions = {k: v for k, v in tables["functions"].items() if v["header"] not in LEFT_OUT_HEADERS}
        self.types: dict[str, tuple[str, Any]] = {}
        for kind in ("typedefs", "enums", "structs"):
            for name, entry in tables[kind].items():
                if tables["type_headers"].get(name) not in LEFT_OUT_HEADERS:
                    self.types[name] = (kind, entry)
        left_out = {n for kind in ("enums", "structs") for n in tables[kind] if n not in self.types}
        self.types = {n: t for n, t in self.types.items() if not words(str(t[1])) & left_out}
        self.macros = {k: v for k, v in tables["macros"].items()
                       if tables["type_headers"].get(k) not in LEFT_OUT_HEADERS}
        self.headers = tables["type_headers"]
        self.operators = operators
        self.tags = {e["tag"]: n for n, (kind, e) in self.types.items() if kind != "typedefs" and e.get("tag")}
        self.placed: set[str] = set()

    def macro_order(self, name: str) -> tuple[str, int, str]:
        """Status codes by value, everything else by name."""
        value = self.macros[name]
        return ("", value, name) if self.concept(name) == "errors" else (name, 0, name)

    def concept(self, name: str) -> str:
        for concept, pattern in MATCHES:
            if re.match(pattern, name):
                return concept
        header = self.functions[name]["header"] if name in self.functions else self.headers.get(name)
        return BY_HEADER.get(header or "", "base")

    def needs(self, name: str) -> Iterator[str]:
        kind, entry = self.types[name]
        text = entry if kind == "typedefs" else json.dumps(entry.get("fields", ""))
        for word in words(text):
            word = self.tags.get(word, word)
            if word in self.types and word != name:
                yield word

    def place(self, names: Iterator[str] | list[str], out: list[str]) -> None:
        for name in names:
            if name not in self.placed:
                self.placed.add(name)
                self.place(sorted(self.needs(name)), out)
                out.append(self.type_text(name))

    def fields(self, fields: list[list[Any]], indent: str = "    ") -> str:
        text = ""
        for field in fields:
            if field[0] in ("union", "struct") and len(field) == 4:
                inner = self.fields(field[3], indent + "    ")
                text += f"{indent}{field[0]} {{\n{inner}{indent}}}{' ' if field[1] else ''}{field[1]};\n"
            else:
                ctype, name, length = field
                text += f"{indent}{declarator(ctype, name)}{dims(length)};\n"
        return text

    def type_text(self, name: str) -> str:
        kind, entry = self.types[name]
        if kind == "typedefs":
            # Only function pointers carry their own name inside the declarator.
            return f"typedef {entry};" if re.search(rf"\b{name}\b", str(entry)) else f"typedef {entry} {name};"
        if kind == "enums":
            # An `enum class` of C++ keeps its names to itself; C gets them with the type's name in front.
            prefix = f"{name}_" if entry.get("scoped") else ""
            values = ", ".join(f"{prefix}{k} = {v}" for k, v in entry["values"].items())
            lines = "\n    ".join(wrap(values, 112))
            tag = entry.get("tag") or name
            return f"typedef enum {tag} {{\n    {lines}\n}} {name};"
        word = "union" if entry.get("union") else "struct"
        tag = entry.get("tag") or name
        if entry["opaque"]:
            return f"typedef {word} {tag} {name};"
        return f"typedef {word} {tag} {{\n{self.fields(entry['fields'])}}} {name};"

    def function_text(self, name: str, entry: Entry) -> str:
        params = ", ".join("..." if t == "..." else declarator(t, n) for t, n in entry["params"]) or "void"
        return f"{declarator(entry['returns'], name)}({params});"

    def files(self) -> dict[str, str]:
        by_concept: dict[str, list[str]] = {c: [] for c in ORDER}
        for name in sorted(self.functions):
            by_concept[self.concept(name)].append(name)
        loose: dict[str, list[str]] = {c: [] for c in ORDER}
        for name in sorted(self.types):
            loose[self.concept(name)].append(name)
        macros: dict[str, list[str]] = {c: [] for c in ORDER}
        for name in sorted(self.macros, key=self.macro_order):
            macros[self.concept(name)].append(name)
        result = {}
        for concept in ORDER:
            if concept.startswith("aclnn_"):
                result[concept] = self.operator_file(concept)
                continue
            types: list[str] = []
            self.place(loose[concept], types)
            for name in by_concept[concept]:
                entry = self.functions[name]
                text = entry["returns"] + " " + " ".join(t for t, _ in entry["params"])
                self.place(sorted({self.tags.get(w, w) for w in words(text)} & set(self.types)), types)
            parts = [f"/* {ABOUT.get(concept, concept.replace('_', ' ').capitalize() + '.')} */"]
            if macros[concept]:
                parts.append("\n".join(f"#define {m} {_literal(self.macros[m])}" for m in macros[concept]))
            parts += types
            if by_concept[concept]:
                parts.append("\n".join(self.function_text(n, self.functions[n]) for n in by_concept[concept]))
            result[concept] = "\n\n".join(parts) + "\n"
        return {f"{c}.h": t for c, t in result.items()}

    def operator_file(self, concept: str) -> str:
        repo = "ops-" + concept[len("aclnn_"):]
        lines = []
        for name, op in sorted(self.operators["ops"].items()):
            if (op.get("repo") or "ops-other") == repo:
                params = [[t, n] for t, n in op["params"]]
                params += [["uint64_t *", "workspaceSize"], ["aclOpExecutor **", "executor"]]
                first = {"returns": "aclnnStatus", "params": params}
                lines.append(self.function_text(f"{name}GetWorkspaceSize", first))
        for name, entry in sorted(self.operators["other_functions"].items()):
            if (entry.get("repo") or "ops-other") == repo:
                lines.append(self.function_text(name, entry))
        return f"/* {ABOUT[concept]} */\n\n" + "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    if not isinstance(value, int):
        return json.dumps(value)
    return f"{value}UL" if value >= 1 << 63 else str(value)


def wrap(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for item in text.split(", "):
        if line and len(line) + len(item) + 3 > width:
            lines.append(line + ",")
            line = item
        else:
            line = f"{line}, {item}" if line else item
    return [*lines, line]


def from_manifest(folder: Path) -> tuple[Tables, Tables]:
    acl = json.loads((folder / "acl.json").read_text())
    base = json.loads((folder / "aclnn_base.json").read_text())
    ops = json.loads((folder / "aclnn_ops.json").read_text())
    tables: Tables = {"type_headers": {**acl["by_header"], **base.get("by_header", {})}}
    for kind in ("functions", "enums", "structs", "typedefs", "macros"):
        tables[kind] = {**acl[kind], **base.get(kind, {})}
    for kind in ("enums", "structs"):
        tables["type_headers"].update({n: e["header"] for n, e in tables[kind].items()})
    for entry in tables["enums"].values():  # names that only one release has are names all the same
        for change in entry.get("changed", {}).values():
            for name, value in change.get("other", {}).items():
                entry["values"].setdefault(name, value)
    tables["macros"].update(ACLNN_STATUS)
    tables["macros"].update(DOCUMENTED_ERRORS)
    # A second phase with parameters of its own; its facts stand in the manifest's text only.
    ops["other_functions"]["aclnnGaussianBlur"] = {
        "returns": "aclnnStatus", "repo": ops["ops"]["aclnnGaussianBlur"].get("repo"), "in": ["2026-08"],
        "params": [["void *", "workspace"], ["uint64_t", "workspaceSize"], ["aclOpExecutor *", "executor"],
                   *ops["ops"]["aclnnGaussianBlur"]["params"], ["const aclrtStream", "stream"]],
    }
    return tables, ops


def releases(tables: Tables, ops: Tables) -> str:
    """name -> the releases that have it, for those that not every source has."""
    known: dict[str, list[str]] = {}
    for name, entry in {**tables["functions"], **ops["ops"], **ops["other_functions"]}.items():
        if entry.get("header") not in LEFT_OUT_HEADERS:
            known[name] = entry["in"] or _listed(entry.get("documented"))
    groups: dict[str, list[str]] = {}
    for name, labels in known.items():
        groups.setdefault(",".join(labels), []).append(name)
    return json.dumps({k: " ".join(sorted(v)) for k, v in sorted(groups.items())}, indent=1) + "\n"


def _listed(labels: Any) -> list[str]:
    return labels if isinstance(labels, list) else [labels or ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="folder with acl.json, aclnn_base.json and aclnn_ops.json")
    source.add_argument("--headers", type=Path, help="folder that holds acl/*.h (and aclnn/, aclnnop/)")
    parser.add_argument("--out", type=Path, default=CDEFS, help="folder to write (default: cdefs/)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file would change")
    args = parser.parse_args()
    if args.manifest:
        tables, ops = from_manifest(args.manifest)
    else:
        from read_headers import from_headers
        tables, ops = from_headers(args.headers)
    files = {args.out / name: text for name, text in Writer(tables, ops).files().items()}
    files[args.out / "ORDER"] = "\n".join(ORDER) + "\n"
    if args.manifest:
        files[RELEASES if args.out == CDEFS else args.out / "releases.json"] = releases(tables, ops)
    if args.check:
        stale = False
        for path, text in files.items():
            old = path.read_text() if path.exists() else ""
            if old != text:
                stale = True
                sys.stdout.writelines(difflib.unified_diff(
                    old.splitlines(True), text.splitlines(True), f"{path} (committed)", f"{path} (generated)"))
        return int(stale)
    args.out.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    print(f"{len(files)} files, {sum(t.count(chr(10)) for t in files.values())} lines in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
