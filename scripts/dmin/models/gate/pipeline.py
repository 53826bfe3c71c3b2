"""A pipeline as it is stored, read part by part without trust in its files."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from dmin.models.gate.files import READ, read_json, require_plain
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.header import read_header
from dmin.models.gate.tokens import require_tokenizer_files
from dmin.models.gate.words import shown
from dmin.runtime.errors import UserError

LIBRARIES = ("diffusers", "transformers")
# What frameworks keep weights in; of these only safetensors are read.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5", ".onnx", ".gguf")
# Keys of a config that ask for code of the model's own, or for numbers that are not the weights themselves.
_REFUSED = {
    "auto_map": "asks for code of its own, which is never run",
    "custom_pipelines": "asks for code of its own, which is never run",
    "trust_remote_code": "asks for code of its own, which is never run",
    "quantization_config": "is quantised, which is not supported",
}


@dataclass(frozen=True)
class StoredPipeline:
    """A pipeline in the diffusers format: a local folder, or a model on the hub at a revision.

    ``flat`` pipelines may keep the files of their parts at the top, in no folder of their own.
    """

    path: str
    revision: str | None
    flat: bool = False

    @property
    def folder(self) -> Path | None:
        """The local folder; None on the hub."""
        return Path(self.path) if Path(self.path).is_dir() else None

    def place(self, part: str) -> Path | None:
        """Return the local folder of a part, which need not exist; None on the hub."""
        if self.folder is None:
            return None
        return self.folder if self.flat and not (self.folder / part).is_dir() else self.folder / part

    def index(self) -> dict[str, Any]:
        """Return ``model_index.json``.

        Raises:
            OSError: there is none, or the pipeline cannot be reached.
            UserError: it is torn or asks for code.
        """
        if self.folder is not None:
            require_plain(self.folder / "model_index.json", self.folder)
            index = read_json(self.folder / "model_index.json")
        else:
            index = dict(DiffusionPipeline.load_config(self.path, revision=self.revision))
        self._require_no_code(index, "model_index.json")
        if not isinstance(index.get("_class_name", ""), str):
            raise UserError(
                f"Base '{self.path}': model_index.json names a pipeline of its own code, which is never run; take a "
                "pipeline of diffusers."
            )
        return index

    def require_parts(self, known: Collection[str], ignored: Collection[str], family: str) -> None:
        """Refuse a pipeline whose index names parts that the family does not know, or code that is not its library's.

        ``ignored`` parts are never loaded.

        Raises:
            UserError: naming the part.
        """
        if self.folder is not None and not (self.folder / "model_index.json").exists():
            return
        for part, value in self.index().items():
            if not isinstance(value, list | tuple) or part in ignored or not any(value):
                continue
            if part not in known:
                raise UserError(
                    f"Base '{self.path}' has the part '{shown(part)}', which {family} has no use for; set family to "
                    "match the base."
                )
            if len(value) != 2 or value[0] not in LIBRARIES:
                raise UserError(
                    f"Base '{self.path}' takes its {part} from '{shown(value[0])}', and only parts of "
                    f"{' and '.join(LIBRARIES)} are loaded; take a pipeline without code of its own."
                )

    def config(self, kind: Any, part: str) -> dict[str, Any]:
        """Return the config of a part, a network or scheduler of the class ``kind``.

        Raises:
            OSError: there is none, or the pipeline cannot be reached.
            UserError: it is torn, of another class, or asks for code.
        """
        self._check_folder(part)
        config = self._raw_config(kind, part)
        self._require_no_code(config, f"the config of {part}")
        return config

    def network(self, kind: Any, part: str) -> Any:
        """Return a part of the class ``kind`` in float32, every tensor from its safetensors files.

        Raises:
            OSError: it cannot be reached, or its file is missing on the hub.
            UserError: a tensor is missing, has another shape, has no place, or is not finite; or as :meth:`config`.
        """
        self._check_network(kind, part)
        network, loading = kind.from_pretrained(
            self.path,
            **self._at(kind, part),
            torch_dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
        self._require_whole(part, network, loading)
        bad = first_not_finite([*network.named_parameters(), *network.named_buffers()])
        if bad is not None:
            raise UserError(
                f"The {part} of '{self.path}' has values in '{bad}' that are not finite; download it again."
            )
        return network

    def check(self, kind: Any, part: str) -> None:
        """Check that a part of the class ``kind`` can be read, without reading its weights.

        Raises:
            UserError: as :meth:`tokenizer` and :meth:`network`.
        """
        if is_tokenizer(kind):
            self._check_tokenizer(part)
        else:
            self._check_network(kind, part)

    def untrained(self, kind: Any, part: str) -> bool:
        """Tell whether a local folder holds the config of a part and weights of no kind at all."""
        place = self.place(part)
        return place is not None and (place / "config.json").is_file() and not _weight_files(place)

    def tokenizer(self, kind: Any, part: str) -> Any:
        """Return a tokenizer of the class ``kind``.

        Raises:
            OSError: it cannot be reached.
            UserError: its files are not whole, or it asks for code.
        """
        self._check_tokenizer(part)
        return kind.from_pretrained(self.path, subfolder=part, revision=self.revision)

    def _check_network(self, kind: Any, part: str) -> None:
        config = self.config(kind, part)
        said, wanted = config.get("_class_name", config.get("model_type")), _name(kind)
        if said is not None and said != wanted:
            raise UserError(f"The {part} of '{self.path}' is {shown(said)} and not {wanted}; set family to match.")
        self._require_weights(kind, part)

    def _check_tokenizer(self, part: str) -> None:
        place = self.place(part)
        if place is None:
            return
        require_tokenizer_files(place)
        self._check_folder(part)
        settings = place / "tokenizer_config.json"
        self._require_no_code(read_json(settings) if settings.is_file() else {}, f"the config of {part}")

    def _raw_config(self, kind: Any, part: str) -> dict[str, Any]:
        at = self._at(kind, part)
        if hasattr(kind, "config_class") and kind.config_class is not None:
            config, _ = kind.config_class.get_config_dict(self.path, **at)
        else:
            config = kind.load_config(self.path, **at)
        return dict(config)

    def _at(self, kind: Any, part: str) -> dict[str, Any]:
        """Return where ``from_pretrained`` finds a part."""
        top = {"revision": self.revision}
        within = {"subfolder": part, **top}
        if not self.flat:
            return within
        if self.folder is not None:
            return top if self.place(part) == self.folder else within
        try:
            kind.load_config(self.path, **within)
        except OSError:
            return top
        return within

    def _check_folder(self, part: str) -> Path | None:
        """Return the local folder of a part once its files are found to be files; None on the hub."""
        place = self.place(part)
        if place is None or self.folder is None or not place.exists():
            return None
        for file in sorted(place.iterdir()):
            if file.suffix in READ:
                require_plain(file, self.folder)
            if file.name == "adapter_config.json":
                # transformers would load the model that it names in place of this one.
                raise UserError(f"'{shown(file)}' puts an adapter on the base itself; merge it or remove the file.")
            if file.name in ("config.json", "scheduler_config.json", "tokenizer_config.json"):
                read_json(file)
        return place

    def _require_no_code(self, config: dict[str, Any], where: str) -> None:
        for key, fault in _REFUSED.items():
            if config.get(key):
                raise UserError(f"Base '{self.path}': {where} has {key}: it {fault}; take another copy of the model.")

    def _require_weights(self, kind: Any, part: str) -> None:
        """Refuse a local part whose weights are missing, in another format, or torn."""
        place = self.place(part)
        if place is None or self.folder is None:
            return
        name = "model" if _is_transformers(kind) else "diffusion_pytorch_model"
        single, index = place / f"{name}.safetensors", place / f"{name}.safetensors.index.json"
        files = [single] if single.exists() else []
        files += [place / shard for shard in _shards(index)] if index.exists() else []
        if not files:
            raise UserError(f"The {part} of '{self.path}' {_instead(place, single.name)}.")
        for file in files:
            require_plain(file, self.folder)
            read_header(file, f"The {part} of '{shown(self.path)}':")

    def _require_whole(self, part: str, network: Any, loading: dict[str, Any]) -> None:
        own = {name.partition(".")[0] for name in network.state_dict()}
        # Heads that this class has no use for, as the image half of CLIP, are left in the file.
        extra = [name for name in loading["unexpected_keys"] if name.partition(".")[0] in own]
        mismatched = [item[0] if isinstance(item, tuple) else item for item in loading["mismatched_keys"]]
        faults = {"lacks": loading["missing_keys"], "has another shape in": mismatched, "has no place for": extra}
        for fault, names in faults.items():
            if names:
                first = shown(sorted(names)[0])
                raise UserError(
                    f"The {part} of '{self.path}' {fault} {len(names)} of its tensors (first '{first}'); its config "
                    "and weights are not of one model: download both again."
                )


def is_tokenizer(kind: Any) -> bool:
    """Tell whether a class of transformers is a tokenizer's."""
    return hasattr(kind, "vocab_files_names")


def _is_transformers(kind: Any) -> bool:
    return str(kind.__module__).startswith("transformers.")


def _name(kind: Any) -> str:
    return str(kind.config_class.model_type) if _is_transformers(kind) else str(kind.__name__)


def _weight_files(place: Path) -> list[str]:
    return sorted(file.name for file in place.iterdir() if file.suffix in _WEIGHTS or file.name.endswith(".index.json"))


def _instead(place: Path, wanted: str) -> str:
    """Say what a folder has in the place of its safetensors file, and what to do."""
    found = _weight_files(place) if place.is_dir() else []
    if not found:
        return f"has no weights; add {wanted}"
    if found[0].endswith((".safetensors", ".safetensors.index.json")):
        return f"has '{shown(found[0])}' and no {wanted}; rename it, or download the other"
    return (
        f"has its weights in '{shown(found[0])}', a format that can run code and is never read; convert them with "
        "save_pretrained(safe_serialization=True)"
    )


def _shards(index: Path) -> list[str]:
    """Return the files that a shard index names.

    Raises:
        UserError: it is torn, or names a file outside its folder or one that is missing.
    """
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"'{shown(index)}' has no weight_map; download it again.")
    for name in (found := sorted({json.dumps(value) for value in names.values()})):
        file = json.loads(name)
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise UserError(
                f"'{shown(index)}' names the shard {shown(name)}, and only safetensors files beside it are read; "
                "download the model again."
            )
        if not (index.parent / file).exists():
            raise UserError(f"'{shown(index)}' names the shard {shown(name)}, which is missing; download it.")
    return [json.loads(name) for name in found]
