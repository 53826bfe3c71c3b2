"""One offline page of an audit: the training images to look at, why, and what is measured of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from dmin.audit.issues import ISSUES
from dmin.audit.report import read_samples_table
from dmin.data.samples import read_samples
from dmin.figures.audit_consequence import ConsequenceFiles, Shown, collect_consequence, read_consequence
from dmin.figures.page_json import script_json
from dmin.figures.thumbnails import Thumbnails
from dmin.runtime.atomic import atomic_path
from dmin.runtime.readers import read_csv, read_json
from dmin.runtime.text import drawable

# Images that are shown of an issue, and the pixels of each; images that are drawn in the map and listed in the table.
MOST_SHOWN, PIXELS, MOST_LISTED = 60, 128, 5000
# What the map and the table show of every image, with its heading.
_MEASURES = {
    "loss": "Loss",
    "loss_percentile": "Loss, share of its subset below",
    "caption_gap": "Better under other captions",
    "caption_similarity": "Caption like the image, CLIP",
    "gradient_norm": "Gradient norm",
    "leverage": "Leverage",
    "held_out_influence": "Helps held-out images",
    "hubs": "Queries it is first for",
    "query_score": "Nearest query",
    "feature_margin": "Nearer to another subset, features",
    "influence_margin": "Nearer to another subset, influence",
    "feature_distance": "Distance to its subset",
    "sharpness": "Sharpness",
    "brightness": "Brightness",
    "contrast": "Contrast",
}
# What an image with each issue is, after "these are".
_MEANINGS = {
    "mislabelled": "images that are nearer to another subset than to their own, by gradients and by features.",
    "wrong caption": "images whose loss is lower under the captions of their neighbours than under their own.",
    "duplicate": "images with the same pixels as another.",
    "near duplicate": "changed copies of another image of their subset.",
    "near duplicate across subsets": "images that have a copy, changed or not, in another subset.",
    "outlier": "images that are far from all others of their subset, as features go.",
    "harmful": "images that raise the loss of held-out images of their subset.",
    "too influential": "images that are among the first for more queries than one that was not trained on would be.",
    "never learned": "images whose loss is above that of images like them that were not trained on.",
    "memorised": "images that a query is closer to than to any that was not trained on.",
    "low quality": "images that are empty, enlarged, mostly border, or blurred or dark or bright beyond their subset.",
}


@dataclass(frozen=True)
class AuditPageFiles:
    """The files that the page of an audit is made from: issues, summary, the table of samples, and their images.

    ``consequence`` is None where nothing was trained again.
    """

    issues: Path
    summary: Path
    measured: Path
    samples: Path
    consequence: ConsequenceFiles | None = None


def collect_audit(
    issues: pd.DataFrame,
    summary: Mapping[str, Any],
    measured: pd.DataFrame,
    images: Mapping[str, Any],
    run: str,
    consequence: Shown | None = None,
) -> dict[str, Any]:
    """Return what the page shows, as plain lists for JSON.

    Of each issue the strongest 60 images are shown, and of all images 5,000 are measured, those with issues first.

    Args:
        issues: see :func:`dmin.audit.report.write_audit`, as the summary.
        measured: the table of samples.
        images: the cell ``{bytes, path}`` of the samples that :func:`shown_samples` names, by id.
        consequence: what removing flagged images does, where that is known.

    Returns:
        ``run``, ``images`` (``[width, data URI]``), ``samples`` (``[id, file, subset, caption, image]``, the image -1
        where it is not shown), ``issues`` (``[name, what it is, images, found at the rate]``), ``left_out``
        (``[name, why]``), ``found``: by issue ``[sample, strength, p, low, high, evidence, other sample]``,
        ``columns`` and ``rows``: the measures of every sample; ``consequence``: see :func:`collect_consequence`, or
        None.
    """
    flagged = list(dict.fromkeys(issues["sample"]))
    rest = [name for name in measured["sample"] if name not in set(flagged)]
    # Companions of what is shown are told by name too.
    listed = list(dict.fromkeys([*flagged, *images, *rest]))[: max(MOST_LISTED, len(images))]
    places = {name: place for place, name in enumerate(listed)}
    table = measured.set_index("sample").loc[listed]
    thumbnails = Thumbnails()
    samples = [
        [
            *(drawable(str(text)) for text in (name, row["file"], row["subset"], row["prompt"])),
            thumbnails.add(images[name], name, PIXELS) if name in images else -1,
        ]
        for name, row in zip(listed, table.to_dict("records"), strict=True)
    ]
    found: dict[str, list[list[Any]]] = {}
    for name, part in issues.groupby("issue", sort=False):
        found[str(name)] = [
            [
                places[row["sample"]],
                *(_number(row[key]) for key in ("strength", "p_value", "low", "high")),
                drawable(str(row["evidence"])),
                places.get(companion(str(name), table.loc[row["sample"]]), -1),
            ]
            for row in part.head(MOST_SHOWN).to_dict("records")
        ]
    columns = [name for name in _MEASURES if name in table and table[name].notna().any()]
    told = None if consequence is None else collect_consequence(consequence, thumbnails, PIXELS)
    return {
        "run": run,
        "summary": {key: summary[key] for key in ("images", "held_out", "fdr", "dropped")},
        "images": [[width, uri] for width, uri in thumbnails.entries],
        "samples": samples,
        "issues": [
            [name, _MEANINGS[name], entry["images"], entry["controlled"]]
            for name, entry in _in_order(summary["issues"])
        ],
        "left_out": [[name, why] for name, why in _in_order(summary["left_out"])],
        "found": found,
        "consequence": told,
        "columns": [[name, _MEASURES[name]] for name in columns],
        "rows": [[_number(value) for value in row] for row in table[columns].to_numpy(dtype=float)],
    }


def shown_samples(issues: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    """Return the ids of the samples whose images the page shows: the strongest of each issue, and their companions."""
    table, shown = measured.set_index("sample"), dict[str, None]()
    for name, part in issues.groupby("issue", sort=False):
        for sample in part["sample"].head(MOST_SHOWN):
            shown |= dict.fromkeys([sample, companion(str(name), table.loc[sample])])
    return [name for name in shown if name]


def companion(issue: str, row: pd.Series) -> str:
    """Return the sample that one with an issue is shown beside; empty where there is none."""
    if issue in ("duplicate", "near duplicate", "near duplicate across subsets"):
        return next(iter(f"{row['copies']} {row['near_copies']}".split()), "")
    if issue == "wrong caption":
        return str(row["better_caption"])
    if issue in ("mislabelled", "outlier"):
        return next(iter(str(row["feature_neighbours"]).split()), "")
    return ""


def _in_order(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, entries[name]) for name in ISSUES if name in entries]


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def write_audit_page(given: AuditPageFiles, run: str, path: Path) -> None:
    """Write the page of an audit as one self-contained HTML file, atomically.

    Raises:
        UserError: a file is torn, or an image unreadable.
    """
    measured = read_samples_table(given.measured)
    issues = read_csv(given.issues, dtype={"sample": str, "file": str, "subset": str, "evidence": str})
    table = read_samples(given.samples, ["id", "image"], shown_samples(issues, measured))
    images = dict(zip(table["id"], table["image"], strict=True))
    consequence = None if given.consequence is None else read_consequence(given.consequence)
    data = collect_audit(issues, read_json(given.summary), measured, images, run, consequence)
    source = files("dmin.figures").joinpath("audit_page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(source).render(run=run, data=Markup(script_json(data)))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
