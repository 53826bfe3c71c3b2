"""Games in the config: the numbers of coalitions and members, and what is refused before any work."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkout import PROJECT
from config_tables import load
from safetensors.torch import save_file

from dmin.workflow.games import Game
from dmin.workflow.job_contents import JobContents
from dmin.workflow.tables import Tables
from dmin.workflow.verify_entries import verify_entries, verify_folders

CONFIG = yaml.safe_load((PROJECT / "config" / "contributors.yaml").read_text())
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


def tables_with(change: Change | None = None) -> Tables:
    config = copy.deepcopy(CONFIG)
    del config["games"]["eight"], config["plan"]
    # Shared by an anchor of the file.
    config["games"]["six"]["coalitions"] = copy.deepcopy(config["games"]["six"]["coalitions"])
    if change is not None:
        change(config["games"]["six"])
    return load(config)


def game_with(change: Change | None = None) -> Game:
    return tables_with(change).games["six"]


def test_example_is_an_exact_game() -> None:
    game = game_with()
    assert game.player_count == 6 and [block.count for block in game.blocks("exact")] == [64]
    samples = tables_with().measures["six"].trained_samples
    assert samples == {"retrain": 6400, "unlearn": 1280, "sparsified": 1280, "pruning": 9600}
    assert game.tuning("sparsified")["train"]["steps"] * 5 <= game.tuning("retrain")["train"]["steps"]
    assert list(game.banks("exact", "fit", "test")) == [
        (trainer, "exact", name)
        for trainer in ("retrain", "unlearn", "sparsified")
        for name in ("00000000-00000032", "00000032-00000064")
    ] + [
        (trainer, "test", name)
        for trainer in ("retrain", "sparsified")
        # Three coalitions of 2, 3 and 4 players, with two seeds each.
        for name in ("02680000-02680006", "03000000-03000006", "03340000-03340006")
    ]
    assert load(CONFIG).games["eight"].blocks("exact")[0].count == 256


def draw(game: dict[str, Any]) -> None:
    fit = {"laws": ["shapley", "leave_one_out"], "count": 40, "trainers": ["sparsified"]}
    game["coalitions"] = {"exact": {"trainers": ["sparsified", "retrain"]}, "fit": fit, "test": {"count": 4}}


def test_coalitions_keep_their_numbers() -> None:
    def more(game: dict[str, Any]) -> None:
        draw(game)
        game["coalitions"]["fit"].update(count=44, laws=["uniform", "leave_one_out", "shapley"])
        game["coalitions"]["test"]["alphas"] = [0.75, 0.5, 0.25, 0.84]

    few, many = game_with(draw), game_with(more)
    for part in ("exact", "fit", "test"):
        kept = {(block.law, block.alpha, block.start) for block in few.blocks(part)}
        assert kept <= {(block.law, block.alpha, block.start) for block in many.blocks(part)}
    # Three seeds of a test coalition stand together; the ranges of full jobs stay.
    assert few.seeds("test") == 3 and few.span("test", few.ranges("test")[0]) == [1_250_000, 1_250_003]
    assert [name for name in few.ranges("fit") if name in many.ranges("fit")] == [
        "00030000-00030032",
        "00040000-00040006",
    ]
    every = [number for game in (few, many) for part in ("exact", "fit", "test") for name in game.ranges(part)
             for number in range(*map(int, name.split("-")))]  # fmt: skip
    assert max(every) < 10**8


def test_fit_hangs_on_what_it_passes_over_where_players_are_few() -> None:
    def more(game: dict[str, Any]) -> None:
        draw(game)
        game["coalitions"]["test"]["count"] = 6

    few, more_held = game_with(draw), game_with(more)
    assert few.drawn_at("fit", "00030000-00030032") != more_held.drawn_at("fit", "00030000-00030032")
    assert few.drawn_at("test", "04500000-04500012") == more_held.drawn_at("test", "04500000-04500012")
    assert few.drawn_at("exact", "00000000-00000002") == more_held.drawn_at("exact", "00000000-00000002")


def test_behaviours_depend_on_what_they_read_alone() -> None:
    def other(game: dict[str, Any]) -> None:
        game.update(query=3, reference={"rows": 50, "timesteps": 7})
        game["behaviours"] = ["mean_loss", "frechet", "entropy", "local_l2", "local_loss"]

    given, changed = tables_with().measures["six"], tables_with(other).measures["six"]
    assert given.behaviour_settings("frechet") == changed.behaviour_settings("frechet")
    assert given.behaviour_settings("entropy") == changed.behaviour_settings("entropy")
    assert given.behaviour_settings("mean_loss") != changed.behaviour_settings("mean_loss")
    assert changed.behaviour_settings("local_l2")["number"] == 3
    assert set(changed.measured("local_l2", "retrain", "exact", "r")) == {"images", "query_images"}
    assert set(changed.measured("local_loss", "retrain", "exact", "r")) == {"models", "query"}
    assert set(changed.base_files("local_loss")) == set(changed.game.model.base.files) != set()
    assert changed.base_files("local_l2") == []
    assert changed.behaviour_settings("mean_loss", "repeat2")["repeat"] == 2


def test_features_of_the_classifier_hang_on_its_file() -> None:
    measures = tables_with(lambda game: game.update(encoder={"kind": "classifier"})).measures["six"]
    weights = "resources/mnist/classifier.safetensors"
    assert measures.encoder == {"kind": "classifier", "path": weights}
    assert measures.encoder_files == [weights, "resources/mnist/classifier.json"]
    assert measures.behaviour_settings("frechet")["encoder"]["kind"] == "classifier"


def test_entropy_is_over_classes_or_clusters() -> None:
    def cluster(game: dict[str, Any]) -> None:
        game.update(clusters=5, classifier=None, behaviours=["entropy"], encoder={"kind": "efficientnet"})

    measures = tables_with(cluster).measures["six"]
    assert measures.reads("entropy") == "features" and measures.needs("entropy") == {"train"}
    assert tables_with().measures["six"].needs("entropy") == {"classifier"}


def test_every_member_is_verified_with_what_it_went_on_with() -> None:
    tables = tables_with(lambda game: game.update(exclude=["sparsified/3"]))
    entries = verify_entries([], tables.games.values(), JobContents(tables, print))
    kinds = Counter(entry["kind"] for entry in entries)
    # The model and the pruned one; 64 coalitions by three trainers, but one, and nine by two of them with two seeds.
    assert kinds == {"imported": 1, "dataset": 1, "weights": 2, "checkpoints": 1, "member": 3 * 64 - 1 + 2 * 18}
    members = {entry["files"]["weights"]: entry for entry in entries if entry["kind"] == "member"}
    name = "games/six/members/{}/exact/models/00000000-00000032/set0004-0/pipeline"
    assert "start" not in members[name.format("retrain")]["made_from"]
    assert members[name.format("unlearn")]["made_from"]["start"] == ["weights", "models/six/pipeline"]
    assert members[name.format("sparsified")]["made_from"]["start"] == ["weights", "games/six/pruned/pipeline"]
    folders = verify_folders([], tables.games.values())
    assert folders["games/six"] == "games/six" and folders["models/six"] == ""
    files = [next(iter(entry["files"].values())) for entry in entries]
    assert len(set(files)) == len(files)
    assert all(any(file.startswith(f"{folder}/") for folder in folders) for file in files)


def set_fit(**given: Any) -> Change:
    return lambda game: game["coalitions"]["fit"].update(given)


def digit_players(**test: Any) -> Change:
    """Make every one of 840 digits a player."""

    def change(game: dict[str, Any]) -> None:
        game.update(players={"by": "sample"}, coalitions={"fit": {"count": 2}, "test": test})

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda game: game.update(model="other"), "games.six.model is 'other', which models does not define"),
        (lambda game: game["players"].update(by="origin"), "of which only the data tell how many there are; set play"),
        (lambda game: game["players"].update(count=5), "players.count is 5, but label gives 6 players"),
        (lambda game: game["players"].update(by="sample"), "asks for every coalition of 840 players, above 12"),
        (set_fit(laws=["datamodel"], alpha=0.1), "alpha 0.1 of 6 players makes a coalition of 0, which says nothing"),
        (lambda game: game["coalitions"]["test"].update(alphas=[0.05]), "test.alphas 0.05 of 6 players makes a coali"),
        (
            lambda game: game["coalitions"]["test"].update(alphas=[0.6, 0.34, 0.5]),
            "test.alphas has 0.5 and 0.6, both 3 of 6 players and so the same test twice; leave one out.",
        ),
        (
            digit_players(alphas=[0.5, 0.504]),
            "test.alphas has 0.5 and 0.504, both 50 percent and so the same test twice",
        ),
        (set_fit(laws=["datamodel"], stratified=True), "players.by label has groups of one player there; set it to f"),
        (set_fit(laws=["shapley"], count=32, trainers=["retrain", "unlearn"]), None),
        (
            lambda game: game["coalitions"].update(
                exact={"trainers": ["retrain"]}, fit={"laws": ["shapley"], "count": 32}
            ),
            "fit.trainers has sparsified, which exact.trainers lacks",
        ),
        (
            lambda game: game["coalitions"].update(curve={"estimators": ["random"], "shares": [0.01]}),
            "curve.shares has 0.01, which of 6 players removes 0",
        ),
        (lambda game: game.update(behaviours=["fid"]), "choose one of"),
        (
            lambda game: game.update(classifier=None),
            "behaviours has entropy, which asks a classifier, but games.six.cl",
        ),
        (
            lambda game: game.update(classifier="no.safetensors"),
            "classifier is 'no.safetensors', but 'no.safetensors' ",
        ),
        (
            lambda game: game.update(encoder={"kind": "inception"}),
            "encoder.kind is inception, but encoder.path is null",
        ),
        (
            lambda game: game.update(encoder={"kind": "inception", "path": "no"}),
            "encoder.path is 'no', which does not exist",
        ),
        (
            lambda game: game.update(encoder={"kind": "efficientnet", "path": "no"}),
            "encoder.path is 'no', which kind efficientnet does not read",
        ),
        (
            lambda game: game.update(encoder={"kind": "classifier"}, behaviours=["frechet"], classifier=None),
            "encoder.kind is classifier, which asks a classifier, but games.six.classifier is null",
        ),
        (lambda game: game.update(query=96), "query is 96, but members generate 96 images; lower it"),
        (lambda game: game.update(reference={"rows": 361}), "reference.rows is 361, more than the test set of six"),
        (lambda game: game.update(exclude=["sparsified/64"]), "a member that the game does not have"),
        (lambda game: game.update(exclude=["retrain/1"]), "retrain/1, the worth of everybody, which all shares are"),
        (lambda game: game.update(exclude=["retrain/2", "sparsified/63"]), None),
    ],
)
@pytest.mark.fault("A game that cannot be played", "one sentence before any work")
def test_what_cannot_be_played_is_refused(
    change: Change, sentence: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if sentence is None:
        game_with(change)
        return
    with pytest.raises(SystemExit) as refused:
        game_with(change)
    assert sentence in str(refused.value) and str(refused.value).startswith("Error: ")


@pytest.mark.parametrize("part", ["text_encoder.", "unet."])
@pytest.mark.fault("A game unlearns an own adapter that changes text encoders too", "refused before any work")
def test_own_adapter_with_a_part_in_text_encoders_is_not_unlearnt(part: str, tmp_path: Path) -> None:
    path = PROJECT / "config" / "paper" / "contributors_artbench.yaml"
    given = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key not in ("runs", "plan")}
    config = {key: {name: entry for name, entry in table.items() if entry is not None} for key, table in given.items()}
    names = ["unet.q.lora_A.weight", "unet.q.lora_B.weight", f"{part}k.lora_A.weight", f"{part}k.lora_B.weight"]
    save_file({name: torch.ones(2, 2) for name in names}, tmp_path / "own.safetensors")
    config["models"]["paintings"]["weights"] = {"path": str(tmp_path / "own.safetensors"), "alpha": 2}
    coalitions = config["games"]["paintings"]["coalitions"]
    for where in ("exact", "fit", "test"):
        coalitions.setdefault(where, {})["trainers"] = ["unlearn"]
    if part == "unet.":
        assert load(config).games["paintings"].all_trainers == ["unlearn"]
        return
    with pytest.raises(SystemExit, match=r"unlearn, which trains the denoiser alone, but the adapter of models\.paint"):
        load(config)


def test_adapter_keeps_a_rank_and_a_full_model_has_no_prompts() -> None:
    path = PROJECT / "config" / "paper" / "contributors_artbench.yaml"
    given = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "runs"}
    config = {key: {name: entry for name, entry in table.items() if entry is not None} for key, table in given.items()}
    assert load(config).games["paintings"].tuning("sparsified")["lora"]["rank"] == 13
    config["models"]["paintings"]["lora"]["rank"] = 1
    config["games"]["paintings"]["pruning"]["ratio"] = 0.6
    with pytest.raises(SystemExit, match=r"pruning.ratio 0.6 leaves nothing of an adapter of rank 1; lower it"):
        load(config)
    config["models"]["paintings"]["finetune"] = "full"
    with pytest.raises(SystemExit, match="channels of the family stable_diffusion cannot be pruned"):
        load(config)
