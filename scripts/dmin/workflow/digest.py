"""What a job's results depend on of the code, as a digest."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "dmin"

# What runs a job, tells of it or says what there is, but cannot reach its result: an edit reruns nothing.
PLUMBING = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "catalogue.entries",
        "catalogue.families",
        "catalogue.methods",
        "runtime.deadline",
        "runtime.errors",
        "runtime.gpu_slot",
        "runtime.job",
        "runtime.meter",
        "runtime.sidecar",
        "settings.config",
        "settings.models",
        "settings.runs",
    )
)
# Tables of what there is, at the top of a method's or family's file, and the words in them.
_ENTRIES = ("METHOD", "FAMILY")
_WORDS = ("summary", "score", "range")


@dataclass(frozen=True)
class ModuleFacts:
    """A module's digest, deaf to what cannot reach a result, and the modules of the library that it imports."""

    digest: str
    imports: frozenset[str]


@cache
def code_digest(root: Path, script: str, *modules: str) -> str:
    """Return the digest of a script, of ``modules``, and of all that these import of the library, directly or not.

    ``modules`` are those that the job chooses by name: its method, its family. Templates beside a module count with it.
    """
    lines = sorted(f"{path.relative_to(root)} {digest}" for path, digest in code_files(root, script, *modules).items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@cache
def code_files(root: Path, script: str, *modules: str) -> dict[Path, str]:
    """Return the files whose digests that digest is of, with their digests."""
    pending = [root / "scripts" / f"{script}.py", *(file for name in modules for file in _files(root, name))]
    digests: dict[Path, str] = {}
    while pending:
        path = pending.pop()
        if path in digests:
            continue
        facts = module_facts(root, path)
        digests[path] = facts.digest
        for template in path.parent.glob(f"{path.stem}.*.j2"):
            digests[template] = hashlib.sha256(template.read_bytes()).hexdigest()
        pending += [file for name in facts.imports - PLUMBING for file in _files(root, name)]
    return digests


@cache
def module_facts(root: Path, path: Path) -> ModuleFacts:
    """Return the facts of a module.

    Comments, formatting, texts that nothing reads, messages, hints of types and imports for them do not count.
    """
    tree = _Bare().visit(ast.parse(path.read_text(encoding="utf-8")))
    package = path.parent.relative_to(root / "scripts").parts
    return ModuleFacts(hashlib.sha256("".join(_dump(tree)).encode()).hexdigest(), frozenset(_imports(tree, package)))


@cache
def _files(root: Path, name: str) -> tuple[Path, ...]:
    """Return the file of a module, and those of the packages that it is in, which run first."""
    places = [root / "scripts"]
    for part in name.split("."):
        places.append(places[-1] / part)
    files = [place / "__init__.py" for place in places[1:]]
    return tuple(file for file in (*files, places[-1].with_suffix(".py")) if file.exists())


def _imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module.split(".")[0] == PACKAGE:
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)


class _Bare(ast.NodeTransformer):
    """Takes out what cannot reach a result."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        # Docstrings, and messages.
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith("log."):
            return None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func).endswith("Error"):
            node.exc.args, node.exc.keywords = [], []
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return [kept for statement in node.orelse if (kept := self.visit(statement)) is not None]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if ast.unparse(node.targets[0]) in _ENTRIES and isinstance(node.value, ast.Dict):
            kept = [
                (key, value)
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if not (isinstance(key, ast.Constant) and key.value in _WORDS)
            ]
            node.value.keys, node.value.values = [key for key, _ in kept], [value for _, value in kept]
        return node


def _dump(node: Any) -> Iterator[str]:
    """Yield a tree as text that is the same in every version of Python: fields without a value are left out."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in ("ctx", "kind", "type_ignores"):
                yield f"{name}="
                yield from _dump(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for entry in node:
            yield from _dump(entry)
        yield "]"
    else:
        yield repr(node)
