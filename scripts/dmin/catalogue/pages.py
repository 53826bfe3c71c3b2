"""Tables of methods, families, behaviours and estimators, in Markdown, as the project's pages show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .behaviours import BEHAVIOURS
from .estimators import ESTIMATORS
from .families import FAMILIES, FamilyEntry
from .methods import METHODS, MethodEntry

_ORDER = ("gradients", "checkpoints", "scores", "taught", "samples", "nothing")


def render_methods_by_input() -> str:
    """Return a table of what methods read, with the names of those that read it."""
    rows: dict[str, list[str]] = {}
    for entry in _ordered_methods():
        rows.setdefault(_reads(entry), []).append(f"`{entry.name}`")
    return _table(("reads", "methods"), ((reads, ", ".join(names)) for reads, names in rows.items()))


def render_methods() -> str:
    """Return a table of all methods: what each is, its score and the range of its scores."""
    return _table(
        ("method", "what it is", "score of training sample i for query q", "range"),
        ((f"`{entry.name}`", entry.summary, entry.score, entry.range) for entry in _ordered_methods()),
    )


def render_families() -> str:
    """Return a table of all families: what each is, how it is fine-tuned, its prompts and its objectives."""
    return _table(
        ("family", "what it is", "`finetune`", "prompts", "`gradients.objective`"),
        ((f"`{entry.name}`", entry.summary, *_abilities(entry)) for entry in FAMILIES.values()),
    )


def render_behaviours() -> str:
    """Return a table of all behaviours: what each is, the range of its values, and what it is measured on."""
    return _table(
        ("behaviour", "what it is", "range", "measured on"),
        ((f"`{entry.name}`", entry.summary, entry.range, f"the {entry.reads}") for entry in BEHAVIOURS.values()),
    )


def render_estimators() -> str:
    """Return a table of all estimators: what each computes, the laws that it can be fitted on, and its source."""
    return _table(
        ("estimator", "what it is", "contribution", "laws", "sum", "source"),
        (
            (
                f"`{entry.name}`",
                entry.summary,
                entry.formula,
                ", ".join(f"`{law}`" for law in entry.laws),
                "v(all) - v(none)" if entry.efficient else "",
                entry.source,
            )
            for entry in ESTIMATORS.values()
        ),
    )


def _ordered_methods() -> list[MethodEntry]:
    """Return the methods by what they read, the inputs of most methods first, and by name."""
    shared = [_reads(entry) for entry in METHODS.values()]

    def place(entry: MethodEntry) -> tuple[int, int, str, str]:
        reads = _reads(entry)
        return _ORDER.index(entry.inputs), -shared.count(reads), reads, entry.name

    return sorted(METHODS.values(), key=place)


def _reads(entry: MethodEntry) -> str:
    if entry.caches is not None:
        train, queries = entry.caches
        return f"gradients, cache `{train}`" + ("" if queries == train else f", of queries `{queries}`")
    if entry.parts:
        return "scores of " + " and ".join(f"`{part}`" for part in entry.parts)
    columns = " and ".join(f"{column}s" for column in entry.columns)
    if entry.inputs == "taught":
        return f"{columns}; of the training samples the gradients of a teacher"
    if entry.inputs == "samples":
        return columns
    return {"checkpoints": "gradients at every checkpoint of the training", "nothing": "nothing"}[entry.inputs]


def _abilities(entry: FamilyEntry) -> tuple[str, str, str]:
    finetune = "`adapter` or `full`" if entry.adapter else "`full`"
    return finetune, "yes" if entry.conditional else "no", ", ".join(f"`{name}`" for name in entry.objectives)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(heads), "|" + "---|" * len(heads), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
