"""What the check of all results needs to know about each file: its place, its config and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Literal

from ..catalogue.methods import (
    CHECKPOINT_METHODS,
    LISSA_CACHE,
    METHODS,
    MIXED_METHODS,
    PLAIN_METHODS,
    TAUGHT_METHODS,
    read_cache,
)
from ..settings.recorded import recorded
from .games import PARTS, Game
from .gradients import SPLITS, checkpoint_step
from .job_contents import JobContents
from .runs import Run
from .values import canonical, pick

# What an index of each backend is built with.
BUILT = {"hnsw": ("M", "ef_construction", "seed"), "cascade": ("rank", "seed")}

Entry = dict[str, Any]
Ancestor = list[Any]


def verify_entries(runs: Iterable[Run], games: Iterable[Game], contents: JobContents) -> list[Entry]:
    """Return every source, data set, weights file, cache shard, sketch, index, score matrix and ranked list of
    all runs, and the weights of all members of games, ancestors first.
    """
    found = [canonical(entry) for run in runs for entry in [*_run_files(run, contents), *_run_entries(run)]]
    found += [canonical(entry) for game in games for entry in [*_own_files(game, contents), *_game_entries(game)]]
    # Runs that share a data set share its sources.
    once = {(str(entry["files"]), entry["run"] * (entry["kind"] != "imported")): entry for entry in found}
    return list(once.values())


def _own_files(owner: Run | Game, contents: JobContents) -> list[Entry]:
    """Return what was made from a user's own files: sources and own weights."""
    model, dataset = owner.model, owner.model.dataset
    found = []
    for name in dataset.source_names:
        digest = contents.source(SimpleNamespace(dataset=dataset.name, source=name))
        settings = recorded(dataset.source(name), seed=dataset.draw_seed(name))
        found.append(_imported(owner, dataset.fetched_file(name), digest, settings))
    if model.settings["weights"]:
        # Their settings stand in the description of the weights.
        found.append(_imported(owner, model.weights, contents.own(SimpleNamespace(model=model.name)), {}))
    return found


def _run_files(run: Run, contents: JobContents) -> list[Entry]:
    """Return what was made from a user's own files: sources, own weights and own images."""
    found = _own_files(run, contents)
    if run.queries.kind == "images":
        data = run.model.dataset.settings
        settings = recorded(
            run.queries.images,
            size=data["size"],
            bucket_step=run.model.dataset.bucket_step,
            profiles=data["convert_profiles"],
        )
        found.append(_imported(run, run.queries.table, contents.queries(SimpleNamespace(run=run.name)), settings))
    return found


def _imported(owner: Run | Game, path: str, digest: str, config: dict[str, Any]) -> Entry:
    return _entry(owner, "imported", {"imported": path}, config, {"files": ["contents", digest]})


def verify_folders(runs: Iterable[Run], games: Iterable[Game]) -> dict[str, str]:
    """Return the folders that hold all files of runs and games, each with its owner, empty for shared ones."""
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    for run in runs:
        banks = [f"banks/{run.bank.name}"] if run.bank else []
        shared |= dict.fromkeys([*_model_folders(run), *banks], "")
        own[f"runs/{run.name}"] = _name(run)
    for game in games:
        shared |= dict.fromkeys(_model_folders(game), "")
        own[_place(game.folder)] = _name(game)
    return shared | own


def _model_folders(owner: Run | Game) -> list[str]:
    dataset = owner.model.dataset.name
    return [f"sources/{dataset}", f"datasets/{dataset}", f"encoded/{dataset}", _place(owner.model.folder)]


def _game_entries(game: Game) -> list[Entry]:
    entries = [_dataset(game), _weights(game)]
    if not game.model.settings["weights"]:
        entries.append(_checkpoints(game))
    if "sparsified" in game.all_trainers:
        entries.append(_pruned(game))
    return entries + [
        _member(game, trainer, f"{game.members('models', trainer, part, name)}/{member}")
        for trainer, part, name in game.banks(*PARTS)
        for member in game.member_names(trainer, part, name)
    ]


def _pruned(game: Game) -> Entry:
    made_from: dict[str, Ancestor] = {"samples": _file(game.model.samples), **_base(game)}
    config = pick(game.pruned_training, *({"finetune", "train", "lora"} & game.pruned_training.keys()))
    return _entry(game, "weights", {"weights": game.pruned}, config, made_from)


def _member(game: Game, trainer: str, folder: str) -> Entry:
    """Return a member, which says of itself what it went on with; its coalition is in the record of its range."""
    made_from = {role: ["weights", _place(path)] for role, path in game.start(trainer).items()}
    weights = game.model.weights.rpartition("/")[2]
    return _entry(game, "member", {"weights": f"{folder}/{weights}"}, {}, {**_base(game), **made_from})


def _run_entries(run: Run) -> list[Entry]:
    influence = run.influence
    entries = [_dataset(run), _weights(run)]
    if not run.model.settings["weights"]:
        entries.append(_checkpoints(run))
    entries += [
        _shard(run, cache, split, shard)
        for split in SPLITS
        for cache in _caches(run, split)
        for shard in run.gradients.shards(cache, split)
    ]
    entries += [_shard(run, cache, "test", shard) for cache, shard in run.held_out.shards]
    sketches = influence.sketches(influence.scored_methods) + run.held_out.sketches(influence.scored_methods)
    entries += [_sketch(run, *sketch) for sketch in sketches]
    entries += [_scores(run, method, v) for method, v in influence.made]
    entries += _region_entries(run)
    return entries + [entry for backend in ("hnsw", "cascade") for entry in _retrievals(run, backend)]


def _region_entries(run: Run) -> Iterator[Entry]:
    """Yield the entries of regions of queries: shards, sketches and scores."""
    for cache in run.regions.caches:
        for shard in run.gradients.shards(cache, "regions"):
            yield _shard(run, cache, "regions", shard)
    read = run.influence.sketches(run.regions.methods)
    for cache, v in sorted({(cache, v) for cache, v, split in read if split == "queries"}):
        yield _sketch(run, cache, v, "regions")
    for method, v in run.regions.scored:
        yield _scores(run, method, v, "regions")


def _entry(owner: Run | Game, kind: str, files: dict[str, str], config: Any, made_from: dict[str, Ancestor]) -> Entry:
    places = {role: _place(path) for role, path in files.items()}
    return {"run": _name(owner), "kind": kind, "files": places, "config": config, "made_from": made_from}


def _name(owner: Run | Game) -> str:
    """Return what the table calls the owner of a file: a run by its name, a game by its folder."""
    return _place(owner.folder) if isinstance(owner, Game) else owner.name


def _place(path: str) -> str:
    """Return a path as the check takes it, relative to the results."""
    return path.removeprefix("<results>/")


def _file(path: str) -> Ancestor:
    return ["file", _place(path)]


def _caches(run: Run, split: str) -> list[str]:
    checkpoints = run.gradients.checkpoint_caches if run.influence.checkpoint_methods else []
    return run.influence.caches(split) + checkpoints


def _dataset(owner: Run | Game) -> Entry:
    dataset = owner.model.dataset
    files = {"train": dataset.train, "test": dataset.test, "summary": dataset.summary}
    sources = zip(dataset.source_names, dataset.fetched, strict=True)
    made_from = {name: ["parquet", _place(path)] for name, path in sources}
    return _entry(owner, "dataset", files, dataset.assembly, made_from)


def _retrievals(run: Run, backend: Literal["hnsw", "cascade"]) -> Iterator[Entry]:
    """Yield the entries of a backend's indexes and of its ranked lists, where the run has them."""
    influence = run.influence
    path = influence.index if backend == "hnsw" else influence.cascade
    settings = influence.search_settings(backend)
    built = pick(influence.settings[backend], *BUILT[backend])
    for v, top in zip(influence.compressed_widths, influence.retrieved(backend), strict=False):
        sketch = ["sha256", _place(influence.indexed_sketch(v, "train"))]
        yield _entry(run, "index", {"index": path(v)}, built, {"sketch": sketch})
        made_from: dict[str, Ancestor] = {
            "index": ["sha256", _place(path(v))],
            "queries": ["sha256", _place(influence.indexed_sketch(v, "queries"))],
        }
        yield _entry(run, "retrieved", {"top": top}, settings, made_from)


def _base(owner: Run | Game) -> dict[str, Ancestor]:
    return {"base": ["base", owner.model.base.settings]}


def _weights(owner: Run | Game) -> Entry:
    model, files, base = owner.model, {"weights": owner.model.weights}, _base(owner)
    if model.settings["weights"]:
        config = {"finetune": model.settings["finetune"], "own": model.settings["weights"]}
        return _entry(owner, "weights", files, config, base)
    return _entry(owner, "weights", files, model.described_training, {"samples": _file(model.samples), **base})


def _checkpoints(owner: Run | Game) -> Entry:
    model = owner.model
    return _entry(owner, "checkpoints", {"checkpoints": model.checkpoints}, {"steps": model.checkpoint_steps}, {})


def _shard(run: Run, cache: str, split: str, path: str) -> Entry:
    gradients = run.gradients
    made_from: dict[str, Ancestor] = {"base": ["base", run.model.base.settings]}
    masks = gradients.regions(split)
    regions: dict[str, Ancestor] = {"regions": _file(masks[0])} if masks else {}
    if cache == LISSA_CACHE and split != "train":
        made_from |= {"weights": ["weights", _place(run.model.weights)]}
        made_from |= {"samples": _file(run.model.samples), "queries": _file(run.queries.encoded)} | regions
        config = {"gradients": gradients.lissa_gradients, "lissa": gradients.lissa_settings}
        return _entry(run, "shard", {"shard": path}, config, made_from)
    step, weights = checkpoint_step(cache), _place(gradients.weights(cache))
    made_from["weights"] = ["weights", weights] if step is None else ["checkpoint", [weights, step]]
    made_from["samples"] = _file(gradients.samples(split))
    given = {"trajectory": gradients.trajectory(cache), "replay": gradients.replayed_log(cache, split)}
    given |= {"scale": gradients.scale(cache), "curvature": gradients.curvature(cache)}
    made_from |= {role: _file(files[0]) for role, files in given.items() if files} | regions
    # As the shards name these settings.
    config = {
        "gradients": gradients.gradient_settings(cache, split),
        "cache": gradients.cache_settings(cache, split),
    }
    return _entry(run, "shard", {"shard": path}, config, made_from)


def _shards(run: Run, cache: str, split: str) -> Ancestor:
    return ["shards", [_place(path) for path in run.gradients.shards(cache, split)]]


def _sketch(run: Run, cache: str, v: str, split: str) -> Entry:
    files = {"sketch": run.gradients.sketch(cache, v, split)}
    return _entry(run, "sketch", files, {"v": int(v)}, {"shards": _shards(run, cache, split)})


def _rows(run: Run, method: str, v: str, split: str) -> Ancestor:
    """Return what holds the gradients that a method reads at width v, for their digest."""
    if method in CHECKPOINT_METHODS:
        return ["list", [["sha256", _place(path)] for path in run.gradients.checkpoint_sketches(v, split)]]
    cache = read_cache(method, split)
    if v == "full":
        return _shards(run, cache, split)
    return ["sha256", _place(run.gradients.sketch(cache, v, split))]


def _scores(run: Run, method: str, v: str, asked: str = "queries") -> Entry:
    """Return the scores of a method for the queries, or for regions of them."""
    influence = run.influence
    config: dict[str, Any] = {"method": method, "top_k": influence.settings["top_k"]}
    if method in CHECKPOINT_METHODS:
        config["train"] = run.model.settings["train"]
    elif method not in MIXED_METHODS:
        config["options"] = influence.options_of(method)
    if method in MIXED_METHODS:
        parts = zip(METHODS[method].parts, influence.part_scores(method, v), strict=True)
        made_from = {part: ["sha256", _place(path)] for part, path in parts}
    elif method in PLAIN_METHODS:
        made_from = {"train": _file(run.model.dataset.train), "queries": _file(run.queries.table)}
        if method in TAUGHT_METHODS:
            made_from["teacher"] = ["sha256", _place(str(influence.teacher_gradients["teacher"]))]
    else:
        made_from = {"train": _rows(run, method, v, "train"), "queries": _rows(run, method, v, asked)}
        if method not in CHECKPOINT_METHODS:
            config["lists"] = run.list_settings
            made_from |= {"held_out": _rows(run, method, v, "test")} if run.held_out.used else {}
    files = {"scores": influence.scores(method, v), "top": influence.top(method, v)}
    if asked == "regions":
        folder = run.regions.folder(method, v)
        files = {"scores": f"{folder}/scores.npy", "top": f"{folder}/top.parquet"}
    return _entry(run, "scores", files, config, made_from)
