"""What a job's results depend on of the code, as a digest."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "dmin"

# What runs a job, tells of it or says what there is, but cannot reach its result: an edit reruns nothing.
PLUMBING = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "catalogue.behaviours",
        "catalogue.entries",
        "catalogue.estimators",
        "catalogue.families",
        "catalogue.methods",
        "runtime.deadline",
        "runtime.errors",
        "runtime.gpu_slot",
        "runtime.job",
        "runtime.meter",
        "runtime.sidecar",
        "settings.audits",
        "settings.config",
        "settings.games",
        "settings.models",
        "settings.runs",
    )
)
# What a module may have beside it, under its name: templates, and the styles and scripts of a page.
_TEMPLATES = (".j2", ".css", ".js")
# Tables of what there is, at the top of a method's, family's, behaviour's or estimator's file, and the words in them.
_ENTRIES = ("METHOD", "FAMILY", "BEHAVIOUR", "ESTIMATOR")
_WORDS = ("summary", "score", "formula", "source", "range", "label", "look")
# What says nothing that the rest of a tree does not.
_NOT_WRITTEN = frozenset(("ctx", "kind", "type_ignores"))


@dataclass(frozen=True)
class ModuleFacts:
    """A module's digest, deaf to what cannot reach a result, and the modules of the library that it imports."""

    digest: str
    imports: frozenset[str]


@dataclass(frozen=True)
class _Source:
    """A file's digests, its own and those of its templates, and the files of what it imports."""

    digests: dict[Path, str]
    imports: list[Path]


class CodeDigests:
    """Digests of the code of jobs, as it stands in a checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sources: dict[Path, _Source] = {}
        self._places: dict[str, list[Path]] = {}
        self._digests: dict[tuple[str, ...], str] = {}

    def digest(self, script: str, *modules: str, facts: str = "") -> str:
        """Return the digest of a script, of ``modules``, and of all that these import of the library, directly or not.

        ``modules`` are those that the job chooses by name: its method, its family. Templates beside a module count.
        ``facts`` are what the script reads of the catalogue beside its own method or family.
        """
        key = (script, *modules, facts)
        if key not in self._digests:
            files = self.files(script, *modules)
            lines = [*sorted(f"{path.relative_to(self.root)} {digest}" for path, digest in files.items()), facts]
            self._digests[key] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        return self._digests[key]

    def files(self, script: str, *modules: str) -> dict[Path, str]:
        """Return the files that this digest is of, each with its own."""
        pending = [self.root / "scripts" / f"{script}.py", *(file for name in modules for file in self._find(name))]
        digests: dict[Path, str] = {}
        while pending:
            path = pending.pop()
            if path not in digests:
                source = self._read(path)
                digests |= source.digests
                pending += source.imports
        return digests

    def _read(self, path: Path) -> _Source:
        if path not in self._sources:
            package = path.parent.relative_to(self.root / "scripts").parts
            facts = module_facts(path.read_text(encoding="utf-8"), package)
            templates = [file for file in path.parent.glob(f"{path.stem}.*") if file.suffix in _TEMPLATES]
            digests = {path: facts.digest} | {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in templates}
            imports = [file for name in facts.imports - PLUMBING for file in self._find(name)]
            self._sources[path] = _Source(digests, imports)
        return self._sources[path]

    def _find(self, name: str) -> list[Path]:
        """Return the file of a module, and those of the packages that it is in, which run first."""
        if name not in self._places:
            places = [self.root / "scripts"]
            for part in name.split("."):
                places.append(places[-1] / part)
            files = [*(place / "__init__.py" for place in places[1:]), places[-1].with_suffix(".py")]
            self._places[name] = [file for file in files if file.exists()]
        return self._places[name]


@cache
def module_facts(text: str, package: tuple[str, ...]) -> ModuleFacts:
    """Return the facts of a module from its text and the names of the packages that it is in.

    Comments, formatting, texts that nothing reads, messages, hints of types and imports for them do not count.
    """
    bare, written = _Bare(package), list[str]()
    tree = bare.visit(ast.parse(text))
    _write(tree, written)
    digest = hashlib.sha256("".join(written).encode()).hexdigest()
    return ModuleFacts(digest, frozenset(bare.imports))


class _Bare(ast.NodeTransformer):
    """Takes out what cannot reach a result, and notes what is imported of the library."""

    def __init__(self, package: tuple[str, ...]) -> None:
        self.package = package
        self.imports: list[str] = []

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.imports += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        above = self.package[: len(self.package) - node.level + 1] if node.level else ()
        module = ".".join([*above, *([node.module] if node.module else [])])
        if module.split(".")[0] == PACKAGE:
            self.imports += [module, *(f"{module}.{alias.name}" for alias in node.names)]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        # Docstrings, and messages.
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        if isinstance(node.value, ast.Call) and _dotted(node.value.func).startswith("log."):
            return None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call) and _dotted(node.exc.func).endswith("Error"):
            node.exc.args, node.exc.keywords = [], []
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if _dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return [kept for statement in node.orelse if (kept := self.visit(statement)) is not None]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if _dotted(node.targets[0]) in _ENTRIES and isinstance(node.value, ast.Dict):
            kept = [
                (key, value)
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if not (isinstance(key, ast.Constant) and key.value in _WORDS)
            ]
            node.value.keys, node.value.values = [key for key, _ in kept], [value for _, value in kept]
        return node


def _dotted(node: ast.AST) -> str:
    """Return a name with what it is an attribute of; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (parent := _dotted(node.value)):
        return f"{parent}.{node.attr}"
    return ""


def _write(node: Any, out: list[str]) -> None:
    """Append a tree as text that is the same in every version of Python: fields without a value are left out."""
    if isinstance(node, ast.AST):
        out += (type(node).__name__, "(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in _NOT_WRITTEN:
                out += (name, "=")
                _write(value, out)
        out.append(")")
    elif isinstance(node, list):
        out.append("[")
        for entry in node:
            _write(entry, out)
        out.append("]")
    else:
        out.append(repr(node))
