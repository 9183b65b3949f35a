"""Read CANN's C interface from real headers, in the form that `gen_cdefs` writes ``cdefs/`` from.

Needs libclang (``pip install libclang``) and a compiler's own headers, which ``gcc -print-file-name`` finds. The
headers are C++ in places (``enum class``, unnamed members), so a C parser is not enough.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from check_cdefs import header_list

Entry = dict[str, Any]


def _spelling(kind: Any) -> str:
    """A type as C writes it: no ``enum class`` scopes, no ``struct`` before typedef names, ``_Bool`` as ``bool``."""
    text = re.sub(r"\b(?:struct|enum|union) (?=\w)", "", kind.spelling)
    return text.replace("_Bool", "bool")


class Reader:
    """Walks one translation unit that includes every header of a folder."""

    def __init__(self, root: Path) -> None:
        import clang.cindex as cindex

        self.kinds = cindex.CursorKind
        self.root = root
        self.tables: dict[str, dict[str, Any]] = {
            k: {} for k in ("functions", "enums", "structs", "typedefs", "macros", "type_headers")}
        headers = header_list(root)
        source = "".join(f'#include "{h.relative_to(root)}"\n' for h in headers)
        own = subprocess.run(["gcc", "-print-file-name=include"], capture_output=True, text=True, check=True)
        arguments = ["-x", "c++", "-std=c++14", f"-I{root}", f"-isystem{own.stdout.strip()}"]
        self.unit = cindex.Index.create().parse(
            "all.cpp", args=arguments, unsaved_files=[("all.cpp", source)],
            options=cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD)
        errors = [d for d in self.unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        if errors:
            raise SystemExit("the headers do not parse:\n" + "\n".join(map(str, errors[:20])))

    def read(self) -> dict[str, dict[str, Any]]:
        self.walk(self.unit.cursor)
        return self.tables

    def header(self, cursor: Any) -> str | None:
        file = cursor.location.file
        if file is None:
            return None
        path = Path(file.name).resolve()
        return str(path.relative_to(self.root)) if self.root in path.parents else None

    def walk(self, cursor: Any) -> None:
        for child in cursor.get_children():
            header = self.header(child)
            if header is None and child.kind != self.kinds.LINKAGE_SPEC:
                continue
            if child.kind in (self.kinds.LINKAGE_SPEC, self.kinds.UNEXPOSED_DECL):
                self.walk(child)
            elif child.kind == self.kinds.FUNCTION_DECL:
                self.function(child, header)
            elif child.kind == self.kinds.MACRO_DEFINITION:
                self.macro(child, header)
            elif child.kind == self.kinds.VAR_DECL:
                self.constant(child, header)
            elif child.kind in (self.kinds.STRUCT_DECL, self.kinds.UNION_DECL, self.kinds.CLASS_DECL):
                if child.spelling and not child.is_anonymous():
                    self.struct(child, child.spelling, header)
            elif child.kind == self.kinds.ENUM_DECL:
                if child.spelling and not child.is_anonymous():
                    self.enum(child, child.spelling, header)
            elif child.kind == self.kinds.TYPEDEF_DECL:
                self.typedef(child, header)

    def function(self, cursor: Any, header: str | None) -> None:
        params = [[_spelling(p.type), p.spelling or f"arg{i}"] for i, p in enumerate(cursor.get_arguments())]
        if cursor.type.kind.name == "FUNCTIONPROTO" and cursor.type.is_function_variadic():
            params.append(["...", ""])
        self.tables["functions"][cursor.spelling] = {
            "header": header, "returns": _spelling(cursor.result_type), "params": params, "in": []}

    def macro(self, cursor: Any, header: str | None) -> None:
        tokens = [t.spelling for t in cursor.get_tokens()][1:]
        value = self.value(tokens)
        if value is not None:
            self.put("macros", cursor.spelling, value, header)

    def constant(self, cursor: Any, header: str | None) -> None:
        tokens = [t.spelling for t in cursor.get_tokens()]
        if "=" in tokens:
            value = self.value([t for t in tokens[tokens.index("=") + 1:] if t != ";"])
            if value is not None:
                self.put("macros", cursor.spelling, value, header)

    @staticmethod
    def value(tokens: list[str]) -> int | str | None:
        text = "".join(tokens).strip("()")
        if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)[uUlL]*", text):
            return int(text.rstrip("uUlL"), 0)
        return text[1:-1] if re.fullmatch(r'"[^"]*"', text) else None

    def put(self, table: str, name: str, value: Any, header: str | None) -> None:
        self.tables[table][name] = value
        self.tables["type_headers"][name] = header

    def enum(self, cursor: Any, name: str, header: str | None) -> None:
        values = {c.spelling: c.enum_value for c in cursor.get_children() if c.kind == self.kinds.ENUM_CONSTANT_DECL}
        if values:
            entry: Entry = {"header": header, "values": values, "in": [], "scoped": cursor.is_scoped_enum()}
            if cursor.spelling not in (name, "") and not cursor.is_anonymous():
                entry["tag"] = cursor.spelling
            self.put("enums", name, entry, header)

    def struct(self, cursor: Any, name: str, header: str | None) -> None:
        if name in self.tables["structs"] and not self.tables["structs"][name]["opaque"]:
            return
        entry: Entry = {"header": header, "fields": self.fields(cursor), "in": [],
                        "opaque": not cursor.is_definition(), "union": cursor.kind == self.kinds.UNION_DECL}
        if cursor.spelling not in (name, "") and not cursor.is_anonymous():
            entry["tag"] = cursor.spelling
        self.put("structs", name, entry, header)

    def fields(self, cursor: Any) -> list[list[Any]]:
        fields: list[list[Any]] = []
        nested = {}
        for child in cursor.get_children():
            if child.kind in (self.kinds.UNION_DECL, self.kinds.STRUCT_DECL):
                word = "union" if child.kind == self.kinds.UNION_DECL else "struct"
                nested[child.hash] = len(fields)
                fields.append([word, "", None, self.fields(child)])
            elif child.kind == self.kinds.FIELD_DECL:
                inner = nested.get(child.type.get_declaration().hash)
                if inner is not None:
                    fields[inner][1] = child.spelling
                    continue
                kind, lengths = child.type, []
                while kind.kind.name in ("CONSTANTARRAY", "INCOMPLETEARRAY"):
                    lengths.append(max(kind.element_count, 0) if kind.kind.name == "CONSTANTARRAY" else 0)
                    kind = kind.element_type
                length: Any = None if not lengths else lengths[0] if len(lengths) == 1 else lengths
                fields.append([_spelling(kind), child.spelling, length])
        return fields

    def typedef(self, cursor: Any, header: str | None) -> None:
        name = cursor.spelling
        target = cursor.underlying_typedef_type.get_declaration()
        if target.kind in (self.kinds.STRUCT_DECL, self.kinds.UNION_DECL) \
                and "*" not in cursor.underlying_typedef_type.spelling:
            if target.spelling != name or name not in self.tables["structs"]:
                self.struct(target, name, header)
            if target.spelling != name:
                self.tables["structs"].pop(target.spelling, None)
        elif target.kind == self.kinds.ENUM_DECL:
            self.enum(target, name, header)
            if target.spelling != name:
                self.tables["enums"].pop(target.spelling, None)
        else:
            text = _spelling(cursor.underlying_typedef_type)
            if "(*)" in text:  # with the parameters' names, which the type's spelling lacks
                params = [p for p in cursor.get_children() if p.kind == self.kinds.PARM_DECL]
                listed = ", ".join(f"{_spelling(p.type)}{'' if _spelling(p.type).endswith('*') else ' '}{p.spelling}"
                                   for p in params) or "void"
                text = f"{text.split('(*)')[0]}(*{name})({listed})"
            self.put("typedefs", name, text, header)


def from_headers(root: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The tables of `gen_cdefs.from_manifest`, read from the headers below `root`."""
    tables = Reader(root.resolve()).read()
    operators: dict[str, dict[str, Any]] = {"ops": {}, "other_functions": {}}
    for name, entry in list(tables["functions"].items()):
        if not entry["header"].startswith("aclnnop/"):
            continue
        del tables["functions"][name]
        params = entry["params"]
        if name.endswith("GetWorkspaceSize") and params and params[-1][0] == "aclOpExecutor **":
            operators["ops"][name[:-len("GetWorkspaceSize")]] = {**entry, "params": params[:-2]}
        elif [p[0] for p in params[:3]] != ["void *", "uint64_t", "aclOpExecutor *"] or len(params) != 4:
            operators["other_functions"][name] = entry
    return tables, operators
