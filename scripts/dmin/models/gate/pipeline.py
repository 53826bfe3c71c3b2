"""A pipeline as it is stored, read part by part without trust in its files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from dmin.models.gate.files import READ, read_json, require_plain
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.single_file import holds, read_part, require_single_file
from dmin.models.gate.tokens import require_tokenizer_files
from dmin.models.gate.weights import require_weights, weight_files
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown
from dmin.settings.models import Base

LIBRARIES = ("diffusers", "transformers")
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

    ``flat`` pipelines may keep the files of their parts at the top, in no folder of their own. Of the parts that
    ``file`` holds, a checkpoint in one file, only the configs are the pipeline's.
    """

    path: str
    revision: str | None
    flat: bool = False
    file: Path | None = None

    @classmethod
    def of(cls, base: Base, flat: bool) -> StoredPipeline:
        """Return the pipeline of a base of the config.

        Raises:
            UserError: it is one file, and no ``config`` names the pipeline that it is a part of.
        """
        path, config = Path(base["path"]), base.get("config")
        if not path.is_file():
            return cls(base["path"], base["revision"], flat)
        require_single_file(path)
        if not config:
            raise UserError(
                f"Base '{base['path']}' is one file, which says nothing of its configs and tokenizers; set config "
                "beside path to a pipeline of its kind, a folder or a model on the hub."
            )
        return cls(config, base["revision"], flat, path)

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

    def require_parts(
        self, known: Collection[str], ignored: Collection[str], optional: Collection[str], family: str
    ) -> None:
        """Refuse a pipeline whose index lacks parts, or names some that the family or the libraries do not know.

        ``ignored`` parts are never loaded, ``optional`` ones may be absent.

        Raises:
            UserError: naming the part.
        """
        if self.folder is not None and not (self.folder / "model_index.json").exists():
            return
        index = self.index()
        for part, value in index.items():
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
        # What has no list of parts at all is no pipeline of this format, and fails where its first part is read.
        listed = [part for part, value in index.items() if isinstance(value, list | tuple)]
        lacking = [part for part in sorted({*known} - {*optional}) if listed and not any(index.get(part) or [])]
        if lacking:
            raise UserError(
                f"Base '{self.path}' has no {lacking[0]}, which {family} needs; take a whole pipeline, or put the "
                f"folder {lacking[0]} of another one into it and name it in model_index.json."
            )

    def config(self, kind: Any, part: str) -> dict[str, Any]:
        """Return the config of a part, a network or scheduler of the class ``kind``.

        Raises:
            OSError: a pipeline on the hub has none, or cannot be reached.
            UserError: a local folder has none, or it is torn, of another class, or asks for code.
        """
        self._check_folder(part)
        try:
            config = self._raw_config(kind, part)
        except OSError as error:
            if self.folder is None:
                raise
            raise UserError(
                f"Base '{self.path}' has no readable {part} ({reason(error)}); add the folder {part} of a pipeline in "
                "the diffusers format."
            ) from error
        self._require_no_code(config, f"the config of {part}")
        return config

    def network(self, kind: Any, part: str, dtype: torch.dtype = torch.float32) -> Any:
        """Return a part of the class ``kind``, every tensor from its safetensors files.

        Raises:
            OSError: it cannot be reached, or its file is missing on the hub.
            UserError: a tensor is missing, has another shape, has no place, or is not finite; or as :meth:`config`.
        """
        self._check_network(kind, part)
        file = self._in_file(part)
        if file is not None:
            network = read_part(file, kind, part, self.path, dtype)
        else:
            network, loading = kind.from_pretrained(
                self.path,
                **self._at(kind, part),
                torch_dtype=dtype,
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

    def _in_file(self, part: str) -> Path | None:
        """Return the checkpoint that holds a part, None where the pipeline does."""
        return self.file if self.file is not None and holds(require_single_file(self.file), part) else None

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
        if self.file is not None or place is None:
            return False
        return (place / "config.json").is_file() and not weight_files(place)

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
        place = self.place(part)
        if place is not None and self.folder is not None and self._in_file(part) is None:
            name = "model" if _is_transformers(kind) else "diffusion_pytorch_model"
            require_weights(place, self.folder, name, f"The {part} of '{shown(self.path)}'")

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
