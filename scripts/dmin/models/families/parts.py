"""The parts of a family's pipeline: their classes, and how they are read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from dmin.models.gate.pipeline import StoredPipeline, is_tokenizer
from dmin.models.gate.tokens import require_length, require_vocabulary
from dmin.models.half import keep_half
from dmin.models.shapes import load_reshaped, read_shapes, reshape
from dmin.runtime.errors import UserError

# Parts that pipelines hold and nothing here uses.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


class Parts:
    """A pipeline's parts, read on demand; what the classes are, :class:`dmin.models.families.family.Family` says."""

    network: ClassVar[Any]
    part: ClassVar[str]
    pipeline: ClassVar[Any]
    frozen: ClassVar[Mapping[str, Any]] = {}
    optional: ClassVar[tuple[str, ...]] = ()
    further: ClassVar[tuple[str, ...]] = ()
    flat: ClassVar[bool] = False
    base: str
    device: torch.device
    stored: StoredPipeline
    untrained: bool = False
    half: bool = False
    planned_config: dict[str, Any] | None = None

    @property
    def denoiser_config(self) -> dict[str, Any]:
        """The config of the pipeline's denoiser, which need not be loaded, as :meth:`part_config`."""
        return self.planned_config or self.part_config(self.part)

    def part_config(self, part: str) -> dict[str, Any]:
        """Return the config of a part of diffusers, what it leaves out as its class has it."""
        kind = self.network if part == self.part else self.frozen[part]
        given = inspect.signature(kind.__init__).parameters.items()
        defaults = {key: value.default for key, value in given if value.default is not value.empty}
        return {**defaults, **self.stored.config(kind, part)}

    def require_family(self) -> None:
        """Refuse a pipeline that is another family's, or lacks a part.

        Raises:
            UserError: as :meth:`StoredPipeline.require_parts`.
        """
        name = type(self).__module__.rpartition(".")[2]
        self.stored.require_parts({self.part, "scheduler", *self.frozen}, UNUSED, self.optional, name)

    def load_part(self, part: str) -> Any:
        """Return a network of the pipeline that nothing trains, of the class in ``frozen``."""
        # Autoencoders are small, and what they decode shows every rounding.
        return self.freeze(self.read_network(self.frozen[part], part, self.half and part != "vae"))

    def read_network(self, kind: Any, part: str, half: bool) -> Any:
        """Return a network of the pipeline, with the weights of its linear layers in bfloat16 if ``half``."""
        if not half:
            return self.stored.network(kind, part)
        return keep_half(self.stored.network(kind, part, torch.bfloat16))

    def load_tokenizer(self, part: str, encoder: Any, positions: int | None) -> Any:
        """Return a tokenizer of the pipeline for a text ``encoder`` that takes ``positions`` tokens, None for any.

        Raises:
            UserError: its files are not whole, or it does not belong to the encoder.
        """
        tokenizer, where = self.stored.tokenizer(self.frozen[part], part), f"{self.base}/{part}"
        require_vocabulary(tokenizer, where, encoder.config.get_text_config().vocab_size)
        if positions is not None:
            require_length(tokenizer, where, positions)
        return tokenizer

    def read_denoiser(self, may_be_untrained: bool) -> Any:
        """Return the denoiser; untrained where that is allowed and a local folder holds its config alone."""
        self.untrained = self.stored.untrained(self.network, self.part)
        place = self.stored.place(self.part)
        manifest = None if place is None else read_shapes(place)
        if not self.untrained and manifest is None:
            return self.read_network(self.network, self.part, self.half)
        if self.untrained and not (self.flat and may_be_untrained):
            remedy = ", or have it trained (finetune: full)" if self.flat else ""
            raise UserError(f"Base '{self.base}' has no weights of its {self.part}; add them{remedy}.")
        with torch.random.fork_rng():
            network = self.network.from_config(self.stored.config(self.network, self.part))
            if manifest is not None:
                reshape(network, manifest)
        if not self.untrained and place is not None:
            self.stored.check(self.network, self.part)
            load_reshaped(network, place)
        return network

    def load_beside(self) -> dict[str, Any]:
        """Return every part but denoiser and scheduler, None for those that are absent.

        What samples need of it is in memory once the encoders are loaded; a whole pipeline is written with all of it.
        """
        index = self.stored.index()
        beside: dict[str, Any] = {name: None for name in UNUSED if name in index}
        for part, kind in self.frozen.items():
            absent = part in self.optional and not (index.get(part) or [None])[0]
            load = self.stored.tokenizer if is_tokenizer(kind) else self.stored.network
            beside[part] = None if absent else load(kind, part)
        return beside

    def require_parts(self) -> None:
        """Check, before a training of hours, that every part that a whole pipeline is written with can be read.

        Raises:
            UserError: as :meth:`StoredPipeline.check`.
        """
        index = self.stored.index()
        for part, kind in self.frozen.items():
            if part not in self.optional or (index.get(part) or [None])[0]:
                self.stored.check(kind, part)

    def freeze(self, module: Any) -> Any:
        """Return a network on the device, in eval mode and without gradients."""
        return module.to(self.device).eval().requires_grad_(False)
