"""What an audit finds in tables of which it is known what is wrong, and what it cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_audit import FAULTY, SETTINGS, columns, fabricated_audit, write_tables
from scipy.stats import kstest

from dmin.attribution.conformal import adjusted, conformal_p
from dmin.audit.calibration import evaluate_calibration
from dmin.audit.caption_margins import Captioned, caption_margins
from dmin.audit.captions import choose_captions
from dmin.audit.detection import DetectionFiles, auc_interval, average_precision, evaluate_audit, expected_hits
from dmin.audit.findings import Audited, LeftOut
from dmin.audit.issues import ISSUES
from dmin.audit.loss_columns import caption_columns, loss_levels, own_columns
from dmin.audit.neighbourhood import feature_blocks, matrix_blocks, neighbourhood
from dmin.audit.report import COLUMNS, AuditFiles, flagged_samples, write_audit

# What makes an image faulty, by the issue that it then has.
FAULTS = {
    "mislabelled": {"influence_margin": 9.0, "feature_margin": 9.0},
    "wrong caption": {"caption_gap": 0.9},
    "outlier": {"feature_distance": 0.9},
    "harmful": {"held_out_influence": -4.0},
    "too influential": {"hubs": 30, "hub_share": 0.75},
    "never learned": {"loss": 2.0},
    "memorised": {"query_score": 0.95},
    "low quality": {"contrast": 0.0},
}


def faulty(**values: float) -> Audited:
    given = fabricated_audit()
    train = given.train.copy()
    for name, value in values.items():
        train[name] = train[name].astype(float)
        train.loc[FAULTY, name] = value
    return replace(given, train=train)


@pytest.mark.parametrize("issue", FAULTS)
def test_an_issue_is_found_and_little_else(issue: str) -> None:
    found = ISSUES[issue](faulty(**FAULTS[issue]))
    assert found.controlled[FAULTY].all()
    assert (found.strength[FAULTY] > 0).all()
    others = np.delete(found.controlled, FAULTY)
    assert others.sum() <= 0.25 * len(FAULTY)
    assert all(found.evidence(place) for place in np.flatnonzero(found.has))
    clean = ISSUES[issue](fabricated_audit())
    assert clean.controlled.sum() == 0


def test_copies_are_told_with_the_subset_of_the_other() -> None:
    given = fabricated_audit()
    train = given.train
    train.loc[[0, 2], "copies"] = ["a/2", "a/0"]
    train.loc[[4, 6], "near_copies"] = ["a/6 b/5", "a/4"]
    train.loc[5, "near_copies"] = "a/4"
    found = {name: np.flatnonzero(ISSUES[name](given).has).tolist() for name in ISSUES if "duplicate" in name}
    assert found == {"duplicate": [0, 2], "near duplicate": [4, 6], "near duplicate across subsets": [4, 5]}
    assert "a/2" in ISSUES["duplicate"](given).evidence(0)


STATISTICAL = {"mislabelled", "wrong caption", "outlier", "harmful", "too influential", "never learned", "memorised"}


@pytest.mark.parametrize(
    ("train", "held_out", "change", "left"),
    [
        (19, 200, {}, STATISTICAL),
        (200, 0, {}, STATISTICAL),
        (200, 19, {}, STATISTICAL),
        (200, 200, {"subset": "a"}, {"mislabelled", "near duplicate across subsets"}),
        (200, 200, {"caption_gap": np.nan}, {"wrong caption"}),
    ],
)  # fmt: skip
@pytest.mark.fault(
    "an audit of few images, of one subset, without captions or without a test set",
    "the issues that need them are left out by name, the others are told",
)
def test_what_cannot_be_told_is_left_out(
    tmp_path: Path, train: int, held_out: int, change: dict[str, object], left: set[str]
) -> None:
    given = fabricated_audit(train, held_out)
    given = replace(given, train=given.train.assign(**change))
    names = ("issues", "summary", "keep", "drop")
    files = AuditFiles(**{name: tmp_path / f"{name}.txt" for name in names})
    write_audit(*write_tables(given, tmp_path), SETTINGS, files)
    summary = json.loads(files.summary.read_text())
    assert set(summary["left_out"]) == left and set(summary["issues"]) == set(ISSUES) - left
    assert all("needs" in why or "captions" in why for why in summary["left_out"].values())


def test_lists_hold_every_file_once_and_one_of_each_copies(tmp_path: Path) -> None:
    given = faulty(caption_gap=0.9)
    given.train.loc[[30, 32, 34], "copies"] = ["a/32 a/34", "a/30 a/34", "a/30 a/32"]
    given.train.loc[36, "file"] = "two\nlines.png"
    files = AuditFiles(*(tmp_path / name for name in ("audit.csv", "audit.json", "keep.txt", "drop.txt")))
    write_audit(*write_tables(given, tmp_path), SETTINGS, files)
    keep, drop = (path.read_text().splitlines() for path in (files.keep, files.drop))
    assert len(keep) + len(drop) == len(given.train) and not set(keep) & set(drop)
    assert {"32.png", "34.png"} <= set(drop) and "30.png" in keep
    assert {f"{place}.png" for place in FAULTY} <= set(drop)
    table = pd.read_csv(files.issues)
    assert list(table.columns) == COLUMNS
    wrong = table[table["issue"] == "wrong caption"]
    assert wrong["strength"].is_monotonic_decreasing and (wrong["low"] < wrong["strength"]).all()
    assert wrong["p_value"].min() == pytest.approx(1 / 201)


def test_noised_copies_are_in_neither_list(tmp_path: Path) -> None:
    given = faulty(caption_gap=0.9)
    given.train.loc[[0, 100], "subset"] = "noise"
    files = AuditFiles(*(tmp_path / name for name in ("audit.csv", "audit.json", "keep.txt", "drop.txt")))
    tables = write_tables(given, tmp_path)
    write_audit(*tables, SETTINGS, files)
    keep, drop = (path.read_text().splitlines() for path in (files.keep, files.drop))
    assert not {"0.png", "100.png"} & {*keep, *drop} and len(keep) + len(drop) == len(given.train) - 2
    assert json.loads(files.summary.read_text())["dropped"] == len(drop)
    assert "a/0" in flagged_samples(*tables, SETTINGS["fdr"]), "the model is trained again without it"


def test_p_values_of_what_is_drawn_alike_are_uniform() -> None:
    generator = np.random.default_rng(0)
    values = [conformal_p(generator.standard_normal(1), generator.standard_normal(99))[0] for _ in range(2000)]
    assert kstest(values, "uniform").pvalue > 0.01
    assert conformal_p(np.array([3.0, 1.0, 0.5, np.nan]), np.array([1.0, 2.0, np.nan])).tolist()[:3] == [
        1 / 3, 1.0, 1.0,
    ]  # fmt: skip
    assert np.isnan(conformal_p(np.array([1.0]), np.array([]))).all()


def test_rates_of_false_discoveries_are_scipys() -> None:
    from scipy.stats import false_discovery_control

    p_values = np.random.default_rng(0).random(60) ** 3
    p_values[7] = p_values[9]
    np.testing.assert_array_equal(adjusted(p_values), false_discovery_control(p_values))
    assert np.isnan(adjusted(np.array([0.01, np.nan]))).tolist() == [False, True]


def test_p_values_of_held_out_images_are_uniform_over_ten_seeds() -> None:
    judged = []
    for seed in range(10):
        generator = np.random.default_rng([seed, 7])
        draws = generator.standard_gamma(2, (500, 100))
        values = np.array([conformal_p(row[:1], row[1:])[0] for row in draws])
        # They lie on multiples of 1/100, each as likely as any other.
        judged.append(kstest(values - generator.random(len(values)) / 100, "uniform").pvalue)
    assert min(judged) > 0.05, judged


def test_of_what_an_audit_finds_a_tenth_is_false_at_most() -> None:
    shares, found = [], []
    for seed in range(20):
        train, held_out = columns(240, 1000 + seed), columns(400, 2000 + seed)
        train.loc[:39, ["influence_margin", "feature_margin"]] += 4.0
        given = ISSUES["mislabelled"](Audited(train, held_out, SETTINGS))
        shares.append(given.controlled[40:].sum() / max(1, given.controlled.sum()))
        found.append(given.controlled[:40].mean())
    assert np.mean(shares) <= 0.1 and np.mean(found) > 0.9


def test_the_false_discovery_rate_is_held() -> None:
    generator = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        p_values = conformal_p(np.concatenate([generator.standard_normal(180), 5 + generator.standard_normal(60)]),
                               generator.standard_normal(300))  # fmt: skip
        found = adjusted(p_values) <= 0.1
        shares.append(found[:180].sum() / max(1, found.sum()))
    assert 0.03 < np.mean(shares) < 0.1


def test_neighbours_are_the_nearest_and_tell_their_subset() -> None:
    generator = np.random.default_rng(2)
    rows = generator.standard_normal((30, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    subsets = ["x"] * 12 + ["y"] * 12 + ["z"] * 6
    found = neighbourhood(feature_blocks(rows, rows), subsets, subsets, 4, same=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    assert (found.places == np.argsort(-cosines, axis=1)[:, :4]).all()
    means = [np.sort(cosines[0, np.array(subsets) == name])[-4:].mean() for name in "xyz"]
    assert found.own[0] == pytest.approx(means[0]) and found.margin[0] == pytest.approx(max(means[1:]) - means[0])
    whole = rows @ rows.T
    again = neighbourhood(matrix_blocks(whole), subsets, subsets, 4, same=True)
    assert (again.places == found.places).all() and whole[0, 0] == pytest.approx(1), "the matrix stays as it is"


@pytest.mark.parametrize("subsets", [["x"] * 3, ["x", "y", "z"]])
def test_few_images_have_fewer_neighbours(subsets: list[str]) -> None:
    found = neighbourhood(matrix_blocks(np.eye(3)), subsets, subsets, 10, same=True)
    assert found.places.shape == (3, 2)
    assert np.isnan(found.other).all() == (len(set(subsets)) == 1)
    assert np.isnan(found.own).all() == (len(set(subsets)) == 3)


def test_captions_that_are_tried_are_others_and_of_the_nearest() -> None:
    angles = np.linspace(0, 1, 6)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    captions = ["a flag", "A  flag", "a brick", "a brick", "a digit", ""]
    found = choose_captions((captions, features), (captions, features), 3, same=True)
    assert found[0] == [2, 4, 5] and found[5] == [4, 3, 1]
    assert choose_captions((["same"] * 6, features), (["same"] * 6, features), 3, same=True) == [[]] * 6


def test_an_image_under_the_caption_of_another_subset_stands_out() -> None:
    generator = np.random.default_rng(4)
    features = generator.standard_normal((80, 8)) * 0.3 + np.repeat(np.eye(8)[:2], 40, axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    captions = [f"the flag of {place}" for place in range(40)] + [f"a red brick, number {place}" for place in range(40)]
    captions[3], captions[50] = captions[50], captions[3]
    rows = Captioned(features, captions)
    found = caption_margins(rows, rows, same=True)
    for margin in found.values():
        assert set(np.argsort(margin)[-2:]) == {3, 50}
    assert caption_margins(Captioned(features, ["", "same"] * 40), Captioned(features, ["", "same"] * 40), True) == {}
    held_out = caption_margins(Captioned(features[:2], ["the flag of 0", "a red brick"]), rows, same=False)
    assert held_out["caption_image_margin"][1] > held_out["caption_image_margin"][0]


def test_losses_become_columns_without_the_level_of_their_timestep() -> None:
    rows = [
        (sample, "", step, draw, level * factor)
        for sample, factor in (("s", 0.8), ("u", 1.2))
        for step, level in ((900, 10.0), (100, 1.0))
        for draw in (0, 1)
    ]
    rows += [("s", "u", 900, 0, 6.0), ("s", "u", 100, 0, 0.7), ("s", "w", 900, 0, 9.0), ("s", "w", 100, 0, 0.9)]
    losses = pd.DataFrame(rows, columns=["sample", "caption_of", "timestep", "draw", "loss"])
    levels = loss_levels(losses)
    own = own_columns(losses, levels)
    assert list(own.columns) == ["loss_900", "loss_900_se", "loss_100", "loss_100_se", "loss", "loss_se"]
    assert own["loss"].to_dict() == pytest.approx({"s": -0.2, "u": 0.2}) and own["loss_se"].max() < 1e-9
    captions = caption_columns(losses)
    assert captions.loc["s", "caption_gap"] == pytest.approx((np.log(8 / 6) + np.log(8 / 9)) / 2)
    assert captions.loc["s", "better_caption"] == "u" and "u" not in captions.index
    assert caption_columns(losses[losses["caption_of"] == ""]).empty


def test_areas_and_precisions_are_those_of_the_definition() -> None:
    values, has = np.array([5.0, 4.0, 4.0, 2.0, 1.0]), np.array([True, False, True, False, True])
    area, low, high = auc_interval(values, has, 0.95)
    assert area == pytest.approx((2 + 1.5 + 0) / 6) and 0 <= low < area < high <= 1
    assert average_precision(values, has) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert expected_hits(values, has, 1) == 1 and expected_hits(values, has, 2) == pytest.approx(1.5)
    perfect = auc_interval(np.array([3.0, 2.0, 1.0]), np.array([True, False, False]), 0.95)
    assert perfect == (1.0, 1.0, 1.0)


def test_planted_faults_are_told_from_faultless_images(tmp_path: Path) -> None:
    given = faulty(caption_gap=0.9)
    given.train.loc[[50, 52], "copies"] = ["a/52", "a/50"]
    planted = pd.DataFrame({"sample": given.train["sample"][FAULTY], "fault": "swapped_captions", "of": "b/1"})
    planted.loc[50] = ["a/50", "exact_duplicates", "a/52"]
    planted.to_csv(tmp_path / "planted.csv", index=False)
    files = DetectionFiles(tmp_path / "detection.csv", tmp_path / "found.csv")
    tables = write_tables(given, tmp_path)
    evaluate_audit(*tables, tmp_path / "planted.csv", {"confidence": 0.95, "seed": 1}, files)
    table = pd.read_csv(files.detection).set_index(["fault", "detector"])
    assert table.loc[("swapped_captions", "caption_gap"), "auc"] == 1
    assert table.loc[("exact_duplicates", "copies"), "average_precision"] == 1, "what was copied does not count"
    assert table.loc[("swapped_captions", "loss"), "auc"] < 0.8
    first = pd.read_csv(files.found).set_index(["fault", "detector", "first"])
    assert first.loc[("swapped_captions", "caption_gap", 0.2), "found"] == 20
    assert first.loc[("swapped_captions", "caption_gap", 0.05), "share"] == pytest.approx(10 / 20, abs=0.05)
    evaluate_calibration(*tables, tmp_path / "planted.csv", {**SETTINGS, "seed": 1}, tmp_path / "calibration.csv")
    judged = pd.read_csv(tmp_path / "calibration.csv").set_index("issue")
    assert judged.loc["wrong caption", "found"] >= 20 and judged.loc["wrong caption", "false_share"] < 0.2
    assert (judged["ks_p"] > 0.05).all() and (judged["false_held_out"] <= 0.1).all()


def test_an_issue_that_cannot_be_told_says_why() -> None:
    with pytest.raises(LeftOut, match="one subset"):
        ISSUES["mislabelled"](replace(fabricated_audit(), train=fabricated_audit().train.assign(subset="a")))
