"""Mistakes in the config: one sentence that names the key, the value and the fix, before anything runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from checkout import PROJECT, Change, Checkout, micro_config
from config_tables import load

from dmin.runtime.errors import UserError
from dmin.workflow.disk import require_room
from dmin.workflow.files import is_local

pytestmark = pytest.mark.usefixtures("micro_files")


def put(path: str, value: Any) -> Change:
    """Return a change of one nested key, named with dots; numbers are places in a list."""

    def change(config: Any) -> None:
        *parents, last = path.split(".")
        for name in parents:
            config = config[int(name)] if isinstance(config, list) else config.setdefault(name, {})
        config[last] = value

    return change


def both(*changes: Change) -> Change:
    """Return several changes as one."""

    def change(config: Any) -> None:
        for one in changes:
            one(config)

    return change


def rename(path: str, new: str) -> Change:
    """Return a change that misspells a key."""

    def change(config: Any) -> None:
        *parents, last = path.split(".")
        for name in parents:
            config = config[int(name)] if isinstance(config, list) else config[name]
        config[new] = config.pop(last)

    return change


SOURCES, RUN, MODEL = "datasets.micro.sources", "runs.micro", "models.micro"
METHODS, OPTIONS = f"{RUN}.influence.methods", f"{RUN}.influence.options"

# What is wrong, and what the sentence must hold: the key, the value, the fix.
MISTAKES: list[tuple[str, Change, list[str]]] = [
    ("misspelt key", rename(f"{RUN}.influence", "influense"), [RUN, "'influense'", "did you mean 'influence'?"]),
    (
        "labels of no column",
        put(f"{SOURCES}.0.labels", ["a"]),
        ["labels is set, but label_column is null", "name the column"],
    ),
    ("misspelt nested key", rename(f"{RUN}.influence.widths", "width"), [f"{RUN}.influence", "mean 'widths'?"]),
    ("misspelt table", rename("models", "modles"), ["the top level", "'modles'", "did you mean 'models'?"]),
    ("unknown key", put(f"{RUN}.gradients.zzz", 1), [f"{RUN}.gradients", "'zzz'", "known keys are parameters,"]),
    ("key that is a number", put(f"{RUN}.queries", {5: 1, "x": 2}), [f"{RUN}.queries", "'5'", "known keys are"]),
    ("missing key", put(MODEL, {"base": "tiny"}), [MODEL, "lacks the key 'dataset'", "add it"]),
    ("table without entries", put("runs", None), ["runs", "None", "type object"]),
    ("name with a blank", put("runs", {"my run": {"model": "micro"}}), ["runs", "'my run'", "use letters, digits"]),
    ("name that is a number", put("runs", {2024: {"model": "micro"}}), ["runs", "2024", "quote a number"]),
    ("rate as text", put(f"{MODEL}.train.learning_rate", "1e-4"), [f"{MODEL}.train.learning_rate", "'1e-4'", "1.0e-4"]),
    ("rate of zero", put(f"{MODEL}.train.learning_rate", 0), [f"{MODEL}.train.learning_rate", "0 is less than"]),
    ("steps as text", put(f"{MODEL}.train.steps", "many"), [f"{MODEL}.train.steps", "'many'", "type integer"]),
    ("steps with a fraction", put(f"{MODEL}.train.steps", 1.0e3), [f"{MODEL}.train.steps", "1000.0", "type integer"]),
    ("no for a number", put(f"{RUN}.queries.steps", False), [f"{RUN}.queries.steps", "False", "type integer"]),
    (
        "negative seed",
        put("datasets.micro.seed", -1),
        ["datasets.micro.seed", "-1", "minimum of 0", "config/README.md"],
    ),
    (
        "unknown choice",
        put(f"{RUN}.gradients.timesteps.grid", "cubic"),
        [f"{RUN}.gradients.timesteps.grid", "'cubic'", "choose one of dmin_cubic, uniform, custom"],
    ),
    (
        "unknown method",
        put(f"{RUN}.influence.methods", ["dmni"]),
        [f"{RUN}.influence.methods.0", "'dmni'", "choose one"],
    ),
    ("width twice", put(f"{RUN}.influence.widths", [64, 64]), [f"{RUN}.influence.widths", "[64, 64]", "non-unique"]),
    (
        "width that does not divide",
        put(f"{RUN}.influence.widths", [64, 100]),
        [f"{RUN}.influence.widths", "100", "does not divide gradients.cache_dim 256", "use widths that do"],
    ),
    ("lists too long", put(f"{RUN}.influence.top_k", 61), [f"{RUN}.influence.top_k", "61", "60 samples", "lower it"]),
    ("ef below top_k", put(f"{RUN}.influence.hnsw.ef", 9), [f"{RUN}.influence.hnsw.ef", "9", "top_k 10", "raise ef"]),
    ("k above top_k", put(f"{RUN}.evaluation.k", [5, 20]), [f"{RUN}.evaluation.k", "20", "top_k 10", "raise top_k"]),
    (
        "uncompressed, not kept",
        put(f"{RUN}.gradients.keep_raw", False),
        [f"{RUN}.influence.uncompressed", "set gradients.keep_raw to true"],
    ),
    (
        "custom grid without timesteps",
        put(f"{RUN}.gradients.timesteps", {"grid": "custom"}),
        [f"{RUN}.gradients.timesteps.custom", "is empty", "list the timesteps"],
    ),
    (
        "repeated timestep",
        put(f"{RUN}.gradients.timesteps", {"grid": "dmin_cubic", "count": 21}),
        [f"{RUN}.gradients.timesteps.count is 21", "repeats a timestep", "lower it or use the grid uniform"],
    ),
    (
        "timestep out of range",
        put(f"{RUN}.gradients.timesteps", {"grid": "custom", "custom": [1000]}),
        [f"{RUN}.gradients.timesteps.custom.0", "1000 is greater than the maximum of 999"],
    ),
    (
        "missing file",
        put(f"{SOURCES}.0.path", "data/rde.parquet"),
        ["datasets.micro.sources 'red'", "path 'data/rde.parquet' does not exist", "correct it"],
    ),
    ("missing folder", put(f"{SOURCES}.2.path", "./data/bleu"), ["sources 'blue'", "'./data/bleu' does not exist"]),
    ("source twice", put(f"{SOURCES}.1.name", "red"), ["datasets.micro.sources", "'red' twice", "a name of its own"]),
    *(
        (f"source named {name}", put(f"{SOURCES}.1.name", name), [f"sources '{name}'", "reserved", "choose another"])
        for name in ("noise", "mean", "all")
    ),
    ("no sources", put(SOURCES, []), [SOURCES, "[]", "non-empty"]),
    (
        "no training set",
        put("datasets.micro.train_fraction", 0.01),
        ["datasets.micro.train_fraction 0.01", "of 75 rows empty", "change it"],
    ),
    (
        "no test set",
        put("datasets.micro.train_fraction", 1.5),
        ["datasets.micro.train_fraction", "1.5 is greater than the maximum of 1"],
    ),
    ("unknown data set", put(f"{MODEL}.dataset", "mirco"), [f"{MODEL}.dataset", "'mirco'", "datasets does not define"]),
    ("unknown base", put(f"{MODEL}.base", "large"), [f"{MODEL}.base", "'large'", "bases does not define"]),
    (
        "ablated width that does not divide",
        put(f"{RUN}.ablation", {"hnsw": {"ef": [20]}}),
        [f"{RUN}.ablation.hnsw.v has 4096", "does not divide gradients.cache_dim 256", "use a width that does"],
    ),
    (
        "compression width that does not divide",
        put(f"{RUN}.ablation", {"hnsw": {"v": 64}, "compression": {"widths": [64, 96]}}),
        [f"{RUN}.ablation.compression.widths has 96", "does not divide gradients.cache_dim 256"],
    ),
    (
        "ablated ef below top_k",
        put(f"{RUN}.ablation", {"hnsw": {"v": 64, "ef": [200, 9]}}),
        [f"{RUN}.ablation.hnsw.ef has 9, below influence.top_k 10", "raise ef or lower"],
    ),
    (
        "unknown storage",
        put(f"{RUN}.ablation", {"compression": {"storage": ["int2"]}}),
        [f"{RUN}.ablation.compression.storage.0", "'int2'", "choose one of fp32, fp16, int8, int4, one_bit"],
    ),
    (
        "journey on held-out images",
        both(
            put(METHODS, ["dmin", "journey_trak"]),
            put(f"{OPTIONS}.journey_steps", 2),
            put(f"{RUN}.queries.source", "held_out"),
        ),
        [METHODS, "journey_trak, which needs the trajectory of a generated image", "leave the method out or set"],
    ),
    (
        "more steps than the journey has",
        both(put(METHODS, ["journey_trak"]), put(f"{OPTIONS}.journey_steps", 1000)),
        [f"{OPTIONS}.journey_steps is 1000", "above queries.steps", "lower it"],
    ),
    *(
        (
            f"{method} without checkpoints",
            put(METHODS, ["dmin", method]),
            [METHODS, f"{method}, which needs checkpoints", f"list steps in {MODEL}.train.checkpoints"],
        )
        for method in ("tracin", "retrac")
    ),
    (
        "checkpoint before everything was seen",
        both(put(METHODS, ["tracin"]), put(f"{MODEL}.train.checkpoints", [1])),
        [f"{MODEL}.train.checkpoints has 1", "the first epoch", "name steps from"],
    ),
    (
        "checkpoint after the training",
        put(f"{MODEL}.train.checkpoints", [100000]),
        [f"{MODEL}.train.checkpoints has 100000", "above steps", "name steps of the training"],
    ),
    (
        "encoder that is not there",
        both(put(METHODS, ["clip"]), put(f"{OPTIONS}.encoder", "./clip")),
        [f"{OPTIONS}.encoder is './clip'", "no folder", "set it to efficientnet"],
    ),
    (
        "weights from one query",
        both(put(METHODS, ["dmin_weighted"]), put(f"{RUN}.queries.per_subset", 1)),
        [METHODS, "dmin_weighted, which learns from one half", "queries.per_subset to 2 or more"],
    ),
    (
        "too few cells for a tensor",
        put(f"{RUN}.gradients.block_dim", 8),
        [f"{RUN}.gradients.block_dim", "8 is less than the minimum of 16"],
    ),
    *(
        (
            f"{name} of zero",
            put(f"{OPTIONS}.{name}", 0),
            [f"{OPTIONS}.{name}", "0 is less than or equal to the minimum"],
        )
        for name in ("relative_lambda", "damping", "lissa_damping")
    ),
    (
        "negative value in the grid",
        put(f"{OPTIONS}.lambda_grid", [0.1, -1]),
        [f"{OPTIONS}.lambda_grid.1", "-1 is less than or equal to the minimum of 0"],
    ),
    ("step as a word", put(f"{OPTIONS}.lissa_alpha", "fast"), [f"{OPTIONS}.lissa_alpha", "'fast'"]),
    ("unknown model", put(f"{RUN}.model", "mirco"), [f"{RUN}.model", "'mirco'", "models does not define", "correct"]),
]


@pytest.mark.parametrize(("change", "parts"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_mistake_is_told_in_one_sentence(change: Change, parts: list[str]) -> None:
    config = micro_config()
    change(config)
    with pytest.raises(SystemExit) as caught:
        load(config)
    sentence = str(caught.value)
    assert sentence.startswith("Error: ")
    assert sentence.count("\n") == 0
    assert len(sentence) < 300
    assert [part for part in parts if part not in sentence] == [], sentence


def test_first_mistake_is_told_when_there_are_several() -> None:
    config = micro_config()
    put(f"{MODEL}.train.steps", "many")(config)
    put("figure", {})(config)
    with pytest.raises(SystemExit, match="top level has the unknown key 'figure'; did you mean 'figures'"):
        load(config)


def test_defaults_are_filled_in() -> None:
    given = micro_config()
    config = load(given).config
    run = config["runs"]["micro"]
    assert run["gradients"]["timesteps"] == {"grid": "dmin_cubic", "count": 3, "custom": []}
    assert run["influence"]["hnsw"] == {"method": "auto", "M": 16, "ef_construction": 200, "ef": 50, "seed": 100}
    assert config["models"]["micro"]["train"]["prompt_dropout"] == 0.1
    # What the user wrote stays as it is.
    assert given == micro_config()


def test_ablation_is_opt_in_and_defaults_to_the_papers_grid() -> None:
    config = micro_config()
    assert "ablation" not in load(config).runs["micro"].settings
    run = config["runs"]["micro"]
    run["influence"]["widths"], run["ablation"] = [32], {"hnsw": {"v": 32, "ef": [200, 1000]}}
    for cache_dim, widths in (
        (8192, [8192, 4096, 2048, 1024, 512, 256, 128, 64]),
        (96, [96]),
        (320, [320, 64]),
        (32, [32]),
    ):
        run["gradients"]["cache_dim"] = cache_dim
        assert load(config).runs["micro"].ablation.widths == widths
    run["gradients"]["cache_dim"], run["ablation"] = 8192, {}
    ablation = load(config).runs["micro"].ablation
    assert ablation.settings["hnsw"] == {
        "v": 4096,
        "M": [4, 8, 16, 32, 48],
        "ef_construction": [50, 100, 200, 300, 400, 500],
        "ef": [200, 1000],
    }
    assert len(ablation.searched) == 30


def test_defaults_of_two_entries_are_two_values() -> None:
    config = micro_config()
    config["runs"]["other"] = {"model": "micro", "influence": {"top_k": 10}, "evaluation": {"k": [5]}}
    config["runs"]["third"] = {"model": "micro", "influence": {"top_k": 10}, "evaluation": {"k": [5]}}
    runs = load(config).config["runs"]
    assert runs["other"]["influence"]["widths"] is not runs["third"]["influence"]["widths"]


@pytest.mark.parametrize("study", ["lds", "removal"])
def test_model_of_unknown_training_is_not_trained_again(study: str) -> None:
    config = micro_config()
    config["models"]["micro"]["weights"] = {"path": "data"}
    config["banks"] = {"small": {"model": "micro"}}
    config["runs"]["micro"][study] = {"lds": {"bank": "small"}, "removal": {"methods": ["dmin"], "k": 3}}[study]
    with pytest.raises(
        SystemExit, match=r"trains model micro again, but models\.micro\.weights were trained elsewhere"
    ):
        load(config)


def test_config_without_runs_is_fine() -> None:
    load({})


@pytest.mark.parametrize("name", ["config.yaml", "base.yaml", "lds.yaml", "banks.yaml"])
def test_shipped_config_follows_the_schema(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    load(yaml.safe_load((PROJECT / "config" / name).read_text()))


def test_split_counts_are_those_of_the_assembly() -> None:
    from dmin.data.assembly import split_counts

    for rows in (7, 100, 1200):
        for noise in (0.0, 0.05, 0.29):
            for fraction in (0.29, 0.8):
                config = micro_config()
                source = {"name": "red", "path": "owner/red", "rows": rows}
                config["datasets"]["micro"] |= {
                    "sources": [source],
                    "noise": {"fraction": noise},
                    "train_fraction": fraction,
                }
                config["runs"] = {}
                counts = load(config).datasets["micro"].counts
                assert (counts.copies, counts.total, counts.train) == split_counts(rows, noise, fraction)


def test_local_paths_are_those_of_the_library() -> None:
    from dmin.data import source

    for path in ("data/blue", "data/none", "./none", "/none", "none.parquet", "owner/images", "../x", "images"):
        assert is_local(path) == source.is_local(path), path


def test_full_disk_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = load(micro_config()).runs
    gradients = runs["micro"].gradients
    shards = [Path(shard) for split in ("train", "queries") for shard in gradients.shards("loss", split)]
    asked: list[Any] = [
        SimpleNamespace(run="micro", cache="loss", split=shard.parent.name, range=shard.stem) for shard in shards
    ]

    def place(path: str) -> str:
        return path.replace("<results>", "results")

    require_room(asked, runs, place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"gradient cache needs 0\.0 GiB for 3 shards .* free some space"):
        require_room(asked, runs, place)
    # What the target does not need takes no room, whatever else the config has.
    require_room([], runs, place)
    row = gradients.timestep_count * gradients.settings["cache_dim"] * 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=row))
    asked[0].range = "00000000-00000001"
    require_room(asked[:1], runs, place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=row - 1))
    with pytest.raises(UserError, match="for 1 shards"):
        require_room(asked[:1], runs, place)
    for shard in shards:
        Path(place(str(shard))).parent.mkdir(parents=True, exist_ok=True)
        Path(place(str(shard))).touch()
    require_room(asked[1:], runs, place)


def test_snakemake_shows_the_sentence_and_no_more(new_checkout: Callable[[str], Checkout]) -> None:
    checkout = new_checkout("misspelt")
    config = micro_config()
    rename(f"{RUN}.influence.widths", "width")(config)
    checkout.write_config(yaml.safe_dump(config))
    result = checkout.snakemake("--dry-run")
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if "profile" not in line]
    assert lines == [f"Error: {RUN}.influence has the unknown key 'width'; did you mean 'widths'?"]
