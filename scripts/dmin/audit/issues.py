"""What is wrong with a training set: each issue tells which images have it, how much, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr, stdtrit

from dmin.attribution.conformal import adjusted
from dmin.audit.findings import (
    LEAST_IMAGES,
    MISLABELLED,
    WRONG_CAPTION,
    Audited,
    Found,
    LeftOut,
    added_up,
    against_held_out,
    deviation,
    require_held_out,
    require_images,
    require_subsets,
    with_interval,
    without_p,
)

# Factor by which an image may have been enlarged, share of it that may be border, and what is no content, in 0..1.
_ENLARGED, _BORDER, _EMPTY = 2.0, 0.75, 4 / 255
# Robust standard deviations from the median of its subset at which an image is out of the ordinary.
_UNUSUAL = 5.0


def mislabelled(given: Audited) -> Found:
    """Tell images that are nearer to another subset than to their own, by gradients and by features alike."""
    require_subsets(given)
    require_images(given)
    require_held_out(given)
    train = given.train
    return against_held_out(
        given,
        added_up(train, given.held_out, MISLABELLED),
        added_up(given.held_out, given.held_out, MISLABELLED),
        lambda place: (
            f"its neighbours are of other subsets: {_subsets_of(train, 'feature', place)} by features, "
            f"{_subsets_of(train, 'influence', place)} by influence"
        ),
    )


def wrong_caption(given: Audited) -> Found:
    """Tell images whose loss is lower under the captions of their neighbours, and that look unlike their caption's."""
    require_images(given)
    if "caption_gap" not in given.train or given.train["caption_gap"].isna().all():
        raise LeftOut("there are no captions that differ, or audit.captions is 0")
    require_held_out(given)
    train, held_out = given.train, given.held_out
    count = int(held_out["caption_gap"].notna().sum()) if "caption_gap" in held_out else 0
    if count < LEAST_IMAGES:
        raise LeftOut(
            f"{count} of the {len(held_out)} test images are near to one with another caption, and it needs "
            f"{LEAST_IMAGES}"
        )
    prompts = train.set_index("sample")["prompt"]
    strength = added_up(train, held_out, WRONG_CAPTION)

    def words(place: int) -> str:
        row = train.iloc[place]
        more = 100 * (np.exp(row["caption_gap"]) - 1)
        than = f"{abs(more):.0f} % {'higher' if more > 0 else 'lower'} under its own caption than under its neighbours'"
        return f"its loss is {than}, as '{prompts[row['better_caption']]}', and it looks unlike images of such captions"

    found = against_held_out(given, strength, added_up(held_out, held_out, WRONG_CAPTION), words)
    half = train["caption_gap_se"] / deviation(held_out["caption_gap"])
    half = half.to_numpy() * ndtri(0.5 + given.settings["confidence"] / 2)
    return with_interval(found, strength - half, strength + half)


def duplicate(given: Audited) -> Found:
    """Tell images with the same pixels as another."""
    return _copies(given.train["copies"], "has the same pixels as")


def near_duplicate(given: Audited) -> Found:
    """Tell changed copies of another image of the same subset."""
    return _copies(_of_subset(given.train, own=True), "is a changed copy of")


def near_duplicate_across_subsets(given: Audited) -> Found:
    """Tell changed copies, or the same pixels, of an image of another subset."""
    require_subsets(given)
    return _copies(_of_subset(given.train, own=False), "is in another subset than its copy,")


def outlier(given: Audited) -> Found:
    """Tell images whose neighbours in their own subset are far away, as is usual in it."""
    require_images(given)
    require_held_out(given)
    usual = given.train.groupby("subset")["feature_distance"].median()

    def strength(table: pd.DataFrame) -> np.ndarray:
        values: np.ndarray = (table["feature_distance"] / table["subset"].map(usual)).to_numpy()
        return values

    far = strength(given.train)
    return against_held_out(
        given,
        far,
        strength(given.held_out),
        lambda place: f"the nearest images of its subset are {far[place]:.1f} times as far away as is usual there",
    )


def harmful(given: Audited) -> Found:
    """Tell images that raise the loss of held-out images of their subset, by a t-test over these."""
    require_images(given)
    require_held_out(given)
    train = given.train
    total, error = train["held_out_influence"].to_numpy(), train["held_out_influence_se"].to_numpy()
    count = train["held_out_images"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = np.where(count > 1, stdtr(np.maximum(count - 1, 1), total / error), np.nan)
    half = error * stdtrit(np.maximum(count - 1, 1), 0.5 + given.settings["confidence"] / 2)
    q_values = adjusted(p_values)
    has = q_values <= given.settings["fdr"]
    return Found(
        -total,
        p_values,
        -total - half,
        -total + half,
        has,
        has,
        lambda place: f"training on it raises the loss of the {count[place]} held-out images of its subset",
    )


def too_influential(given: Audited) -> Found:
    """Tell images that are among the first for more queries than a held-out image ever would be."""
    require_images(given)
    require_held_out(given)
    hubs, share = given.train["hubs"].to_numpy(), given.train["hub_share"].to_numpy()
    found = against_held_out(
        given,
        hubs.astype(float),
        given.held_out["hubs"].to_numpy(dtype=float),
        lambda place: f"it is among the first of {hubs[place]} queries, {100 * share[place]:.0f} % of all",
    )
    half = given.train["hub_share_se"].to_numpy() * ndtri(0.5 + given.settings["confidence"] / 2)
    scale = np.divide(hubs, share, out=np.ones(len(hubs)), where=share > 0)
    return with_interval(found, np.maximum(0, hubs - half * scale), hubs + half * scale)


def never_learned(given: Audited) -> Found:
    """Tell images whose loss is above that of images of their subset that were not trained on."""
    require_images(given)
    require_held_out(given)
    level = given.held_out.groupby("subset")["loss"].mean()

    def strength(table: pd.DataFrame) -> np.ndarray:
        values: np.ndarray = (table["loss"] - table["subset"].map(level)).to_numpy()
        return values

    above = strength(given.train)
    found = against_held_out(
        given,
        above,
        strength(given.held_out),
        lambda place: f"its loss is {100 * above[place]:.0f} % of the usual one above that of held-out images like it",
    )
    half = given.train["loss_se"].to_numpy() * ndtri(0.5 + given.settings["confidence"] / 2)
    return with_interval(found, above - half, above + half)


def memorised(given: Audited) -> Found:
    """Tell images that a generated image is closer to than to any that was not trained on."""
    require_images(given)
    require_held_out(given)
    train = given.train
    return against_held_out(
        given,
        train["query_score"].to_numpy(),
        given.held_out["query_score"].to_numpy(),
        lambda place: (
            f"'{train['closest_query'].iloc[place]}' has its gradient, cosine {train['query_score'].iloc[place]:.2f}"
        ),
    )


def low_quality(given: Audited) -> Found:
    """Tell images that are empty, enlarged, mostly border, or blurred or dark or bright beyond their subset."""
    train = given.train
    usual_border = train.groupby("subset")["border"].transform("median")
    blurred = -_robust(train, np.log(train["sharpness"].clip(lower=1e-3)))
    light = _robust(train, train["brightness"]).abs() * (train["clipped"] > 0.9)
    # What is empty has no sharpness, and a border alone.
    full = train["contrast"] >= _EMPTY
    strengths = pd.DataFrame(
        {
            "it is one colour all over": 1.0 * ~full,
            "it is enlarged from {width} x {height} pixels": _where(train["upscaling"], _ENLARGED, full),
            "{border:.0%} of it is border, unlike its subset": _where(
                train["border"], _BORDER, full & (usual_border < _BORDER / 3)
            ),
            "it is far more blurred than its subset": _where(blurred, _UNUSUAL, full),
            "it is black or white nearly all over, unlike its subset": _where(light, _UNUSUAL, full),
        }
    )

    def words(place: int) -> str:
        reasons = [reason for reason, strength in strengths.iloc[place].items() if strength > 0]
        return "; ".join(str(reason).format_map(train.iloc[place].to_dict()) for reason in reasons)

    # Others may be meant.
    return replace(without_p(strengths.max(axis=1).to_numpy(), words), controlled=~full.to_numpy())


ISSUES: Mapping[str, Callable[[Audited], Found]] = {
    "mislabelled": mislabelled,
    "wrong caption": wrong_caption,
    "duplicate": duplicate,
    "near duplicate": near_duplicate,
    "near duplicate across subsets": near_duplicate_across_subsets,
    "outlier": outlier,
    "harmful": harmful,
    "too influential": too_influential,
    "never learned": never_learned,
    "memorised": memorised,
    "low quality": low_quality,
}


def _copies(listed: pd.Series, words: str) -> Found:
    """Return an issue of images that have copies, as many as its strength."""
    names = [text.split() for text in listed.fillna("")]
    return without_p(
        np.array([len(others) for others in names], dtype=float),
        lambda place: f"it {words} {', '.join(names[place][:5])}",
    )


def _of_subset(train: pd.DataFrame, own: bool) -> pd.Series:
    """Return the changed copies of each image that are of its own subset, or all copies of other subsets."""
    subset = train.set_index("sample")["subset"]
    listed = train["near_copies"].fillna("")
    if not own:
        listed = listed + " " + train["copies"].fillna("")
    kept = [
        " ".join(name for name in text.split() if (subset[name] == mine) == own)
        for text, mine in zip(listed, train["subset"], strict=True)
    ]
    return pd.Series(kept, index=train.index)


def _subsets_of(train: pd.DataFrame, kind: str, place: int) -> str:
    """Return the most frequent subset among the neighbours of an image, and how many are of it."""
    subset = train.set_index("sample")["subset"]
    names = [subset[name] for name in train[f"{kind}_neighbours"].iloc[place].split()]
    common = max(sorted(set(names)), key=names.count)
    return f"{names.count(common)} of {len(names)} are {common}"


def _robust(train: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Return values as robust standard deviations from the median of their subset; at least .05 count as one."""
    groups = values.groupby(train["subset"])
    middle = groups.transform("median")
    spread = (values - middle).abs().groupby(train["subset"]).transform("median") * 1.4826
    return (values - middle) / spread.clip(lower=0.05)


def _where(values: pd.Series, least: float, among: pd.Series) -> pd.Series:
    """Return values over the ``least`` at which they count, and 0 where they do not."""
    return (values / least).where((values >= least) & among, 0.0)
