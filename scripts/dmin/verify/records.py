"""What the files of each kind say of themselves, read whole and compared with their checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmin.gradients.shard import Shard
from dmin.models.training.checkpoints import checkpoint_weights, read_checkpoints
from dmin.runtime.digests import are_described
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import check_parquet, parquet_digest, parquet_provenance
from dmin.runtime.provenance import CONTENTS, PROVENANCE, require_whole
from dmin.runtime.readers import read_json


class FaultError(Exception):
    """Something wrong with a result: ``status`` is torn, stale, foreign or missing, the message says what."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class Record:
    """The config, the digests and the versions that a whole result was made from.

    Attributes:
        silent: it says nothing of them.
        partial: it holds some of the settings alone, as results of before it held all.
    """

    config: Mapping[str, Any]
    made_from: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    partial: bool = False


def read_record(kind: str, files: Mapping[str, Path]) -> Record:
    """Read a result of a kind wholly and return what it says of itself.

    Raises:
        FaultError: a file is missing, torn or foreign.
    """
    for path in files.values():
        if not path.exists():
            raise FaultError("missing", f"'{path.name}' does not exist")
    try:
        return _READERS[kind](files)
    except OSError as error:
        raise FaultError("torn", f"it cannot be read ({error.strerror})") from error
    except UserError as error:
        raise FaultError("torn", str(error)) from error


def _shard(files: Mapping[str, Path]) -> Record:
    path = files["shard"]
    try:
        shard = Shard(path)
        for name in sorted(shard.names):
            shard.read(name)
    except UserError as error:
        foreign = isinstance(error.__cause__, KeyError | TypeError)
        raise FaultError("foreign" if foreign else "torn", str(error)) from error
    start, stop = map(int, path.stem.split("-"))
    if len(shard.ids) != stop - start:
        raise FaultError("foreign", f"it holds {len(shard.ids)} samples, and its name says {stop - start}")
    return _provenance(shard.provenance)


def _described(what: str) -> Callable[[Mapping[str, Path]], Record]:
    def read(files: Mapping[str, Path]) -> Record:
        main = next(iter(files.values()))
        described = _json(main.with_suffix(".json"))
        try:
            for role, path in files.items():
                require_whole(path, role, what, described)
        except UserError as error:
            raise FaultError("torn", str(error)) from error
        return _provenance(described.get(PROVENANCE, {}), set(files))

    return read


def _weights(files: Mapping[str, Path]) -> Record:
    path = files["weights"]
    facts = _json(path.parent / "model.json")
    try:
        config = {key: facts[key] for key in ("finetune", "train", "lora", "own") if key in facts}
        made_from = {"base": facts["base_digest"]}
        whole = are_described(path, facts)
        if "own" not in facts:
            made_from["samples"] = facts["samples"]
    except KeyError as error:
        raise FaultError("foreign", f"model.json lacks {error}") from error
    if not whole:
        raise FaultError("torn", "the weights are not those that model.json describes")
    return Record(config, made_from, facts.get("versions", {}))


def _member(files: Mapping[str, Path]) -> Record:
    found = _weights(files)
    # It was trained on a part of the samples, which no file holds.
    made_from = {
        "base": found.made_from["base"],
        "start": _json(files["weights"].parent / "model.json").get("start", ""),
    }
    return Record({}, made_from, found.versions)


def _checkpoints(files: Mapping[str, Path]) -> Record:
    folder = files["checkpoints"]
    _json(folder / "checkpoints.json")
    facts = read_checkpoints(folder)
    for fact in facts:
        weights = checkpoint_weights(folder, fact["step"])
        if not weights.exists():
            raise FaultError("missing", f"the weights of checkpoint {fact['step']} do not exist")
        if not are_described(weights, fact):
            raise FaultError(
                "torn", f"the weights of checkpoint {fact['step']} are not those that checkpoints.json describes"
            )
    return Record({"steps": [fact["step"] for fact in facts]}, {})


def _dataset(files: Mapping[str, Path]) -> Record:
    facts = _json(files["summary"])
    for split in ("train", "test"):
        _whole_table(files[split])
        if "tables" in facts and parquet_digest(files[split]) != facts["tables"].get(split):
            raise FaultError(
                "foreign", f"'{files[split].name}' is not the table that '{files['summary'].name}' describes"
            )
    if "made_from" not in facts:
        return Record({}, {}, silent=True)
    if "config" not in facts:
        return Record({"size": facts["size"], "seed": facts["seed"]}, facts["made_from"], partial=True)
    return Record(facts["config"], facts["made_from"], facts.get("versions", {}))


def _retrieved(files: Mapping[str, Path]) -> Record:
    _whole_table(files["top"])
    made = parquet_provenance(files["top"])
    return _provenance(made) if made else Record({}, {}, silent=True)


def _whole_table(path: Path) -> None:
    try:
        check_parquet(path, whole=True)
    except UserError as error:
        raise FaultError("torn", str(error)) from error


def _imported(files: Mapping[str, Path]) -> Record:
    note = files["imported"].with_suffix(CONTENTS)
    facts = _json(note) if note.exists() else None
    if not isinstance(facts, dict) or not isinstance(facts.get("contents"), str):
        raise FaultError("foreign", "it does not say what it was made from")
    return Record(facts.get("config", {}), {"files": facts["contents"]}, partial="config" not in facts)


def _provenance(made: Mapping[str, Any], roles: set[str] | None = None) -> Record:
    if not made or (roles is not None and set(made["sha256"]) != roles):
        raise FaultError("foreign", "it does not say what it was made from")
    return Record(made["config"], made["made_from"], made["versions"])


def _json(path: Path) -> Any:
    if not path.exists():
        raise FaultError("missing", f"its description '{path.name}' does not exist")
    try:
        return read_json(path)
    except UserError as error:
        raise FaultError("torn", f"its description is torn: {error}") from error


_READERS: Mapping[str, Callable[[Mapping[str, Path]], Record]] = {
    "shard": _shard,
    "sketch": _described("Sketch"),
    "index": _described("Index"),
    "scores": _described("Scores"),
    "weights": _weights,
    "member": _member,
    "checkpoints": _checkpoints,
    "dataset": _dataset,
    "retrieved": _retrieved,
    "imported": _imported,
}
