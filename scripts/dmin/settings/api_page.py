"""The page on what the package offers in Python, written from its docstrings without importing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).parents[1]
_HEAD = """# In Python

What `import dmin` offers; importing it is cheap, and the rest is read when it is used. This page is written
from the docstrings by `make pages`."""
_SECTION = re.compile(r"(Args|Returns|Raises|Attributes):")
_ROLE = re.compile(r":(?:func|meth|class|mod):`~?([^`]+)`")


def render_api() -> str:
    """Return the page: every offered function and class with its signature and its docstring as Markdown."""
    offered = _offered(ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8")))
    nodes = {name: _find(name, LIBRARY / f"{file}.py") for name, file in offered.items()}
    functions = [name for name, node in nodes.items() if isinstance(node, ast.FunctionDef)]
    order = [*functions, *(name for name in nodes if name not in functions)]
    return "\n\n".join([_HEAD, *(part for name in order for part in _describe(nodes[name], "dmin."))]) + "\n"


def _offered(tree: ast.Module) -> dict[str, str]:
    """Return what the package offers, by the file that it stands in."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_OFFERED":
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    raise LookupError("dmin/__init__.py has no _OFFERED.")


def _find(name: str, path: Path) -> ast.FunctionDef | ast.ClassDef:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name)


def _describe(node: ast.FunctionDef | ast.ClassDef, prefix: str, level: int = 2) -> Iterator[str]:
    """Yield the heading and the text of a function or a class, and of the public methods of a class."""
    yield f"{'#' * level} `{prefix}{_signature(node)}`"
    yield _markdown(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield from _describe(member, ".", level + 1)


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return node.name
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    given = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    # What stands below a property decorator is read and not called.
    called = not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    return f"{node.name}{f'({given})' if called else ''}{returns}"


def _markdown(docstring: str) -> str:
    """Return a docstring as Markdown: code in single ticks, each entry of a section an item of a list."""
    lines: list[str] = []
    indent = ""
    for line in docstring.splitlines():
        if _SECTION.fullmatch(line):
            indent = ""
            lines += [f"**{line.removesuffix(':')}**", ""]
        elif entry := re.fullmatch(r" {4}(\w+): (.+)", line):
            indent = "  "
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            lines.append(f"{indent}{line.strip()}" if line.startswith(" ") else line)
    return _ROLE.sub(r"`\1`", "\n".join(lines)).replace("``", "`").strip()
