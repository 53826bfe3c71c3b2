"""Every file of a folder of results that carries a checksum, whatever made it, read to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dmin.gradients.shard import Shard
from dmin.runtime.checksums import TornError, check_record, check_sums
from dmin.runtime.digests import are_described, sha256
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import check_parquet
from dmin.runtime.provenance import PROVENANCE
from dmin.runtime.readers import load_json, read_json

# A folder with this file is a pipeline: the description of its weights, beside it, has the checksums of what it holds.
_PIPELINE = "model_index.json"
_DESCRIPTION = "model.json"
# What is not made of results: unfinished work, and the checksums themselves.
_HIDDEN = "."


def check_folder(root: Path, folder: str, seen: Set[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each file of a folder, relative to ``root``, as ``(file, status, detail)``.

    The status is ``torn`` or ``ok``; a file without a checksum is ``ok``, and the detail says so.

    Args:
        seen: files that were checked already; they are left out.
    """
    for path in _files(root / folder):
        place = str(path.relative_to(root))
        if place in seen or path.suffix not in _CHECKS:
            continue
        try:
            sealed = _CHECKS[path.suffix](path)
        except (UserError, TornError) as error:
            yield place, "torn", str(error)
        except OSError as error:
            yield place, "torn", f"it cannot be read ({error.strerror})"
        else:
            yield place, "ok", "" if sealed else "it has no checksum"


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order, but for hidden ones and those of pipelines."""
    if not folder.is_dir() or (folder / _PIPELINE).exists():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(_HIDDEN):
            continue
        # A folder under the name of a file is in the file's place.
        if path.is_dir() and path.suffix not in _CHECKS:
            yield from _files(path)
        else:
            yield path


def _json(path: Path) -> bool:
    content, sealed = load_json(path)
    if path.name == _DESCRIPTION and not isinstance(content, dict):
        raise TornError("it holds no object")
    if path.name == _DESCRIPTION and "weights" in content:
        weights = next((place for name in _WEIGHTS if (place := path.parent / name).exists()), None)
        if weights is not None and not are_described(weights, content):
            raise TornError(f"'{weights.name}' beside it is not what it describes")
    return sealed


def _described(path: Path) -> bool:
    """Check an array or an index, whose checksum stands in the JSON file beside it, or in a record of its own."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return check_record(path)
    known = read_json(beside).get(PROVENANCE, {}).get("sha256", {})
    if known and sha256(path) not in known.values():
        raise TornError("it fails the checksum in the JSON file beside it")
    return bool(known)


def _tensors(path: Path) -> bool:
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("dmin", "").partition(" ")[2]
    except (SafetensorError, OSError) as error:
        raise TornError(f"it is torn ({error})") from error
    described = path.with_name(_DESCRIPTION)
    if not text and path.name in _WEIGHTS and described.exists():
        facts = read_json(described)
        if not isinstance(facts, dict) or "weights" not in facts:
            return False
        if not are_described(path, facts):
            raise TornError(f"it is not what '{_DESCRIPTION}' beside it describes")
        return True
    if '"raw"' in text or '"sketch"' in text:
        shard = Shard(path)
        for name in shard.names:
            shard.read(name)
        return True
    from dmin.models.sealed_tensors import SealedTensors  # here, because it imports torch

    with SealedTensors(path, "File") as tensors:
        return tensors.check()


_WEIGHTS = ("pytorch_lora_weights.safetensors", "pipeline")
_CHECKS: Mapping[str, Callable[[Path], bool]] = {
    ".parquet": lambda path: check_parquet(path, whole=True),
    ".json": _json,
    ".safetensors": _tensors,
    ".npy": _described,
    ".hnsw": _described,
    **dict.fromkeys((".csv", ".html", ".pdf", ".png", ".svg"), check_record),
    ".sha256": check_sums,
}
