"""Samples as the denoiser sees them: latents and conditioning, encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dmin.models.sealed_tensors import SealedTensors, write_tensors
from dmin.models.shaped_latents import ShapedLatents, runs
from dmin.runtime.errors import UserError

WHAT = "File of encoded samples"


@dataclass(frozen=True)
class EncodedSamples:
    """Latents ``[N, c, h, w]``, or of several shapes, and conditioning tensors ``[N, ...]`` of the samples ``ids``.

    ``unconditional`` holds the conditioning of the empty prompt, each ``[1, ...]``. ``repeats [N]`` says how often each
    sample is seen in an epoch of a training; None where once. Samples that are regions of others have ``masks
    [N, h, w]`` in 0..1 over the cells of the latents, and ``origins``, the ids of the others, whose noises they meet.
    ``bucketed`` samples are of a data set of aspect-ratio buckets, whatever shapes these have. ``tokens`` are what text
    encoders read of the prompts, each ``[N, ...]``, of a model whose adapter changes text encoders; empty elsewhere.
    """

    ids: Sequence[str]
    stored: torch.Tensor | ShapedLatents
    conditioning: Mapping[str, torch.Tensor]
    unconditional: Mapping[str, torch.Tensor]
    repeats: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    origins: Sequence[str] | None = None
    bucketed: bool = False
    tokens: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def noised_as(self) -> Sequence[str]:
        """The ids that the samples' noises are drawn by."""
        return self.ids if self.origins is None else self.origins

    @property
    def latents(self) -> torch.Tensor:
        """All latents at once, ``[N, c, h, w]``.

        Raises:
            UserError: they have several shapes.
        """
        if isinstance(self.stored, ShapedLatents):
            shapes = ", ".join(str(shape) for shape in self.shapes[:3])
            raise UserError(
                f"The latents of the samples have several shapes ({shapes}), and this takes samples of one; set the "
                "data set's bucket_step to null, or leave this out."
            )
        return self.stored

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes ``(c, h, w)`` of the latents, each once."""
        return self.stored.shapes if isinstance(self.stored, ShapedLatents) else [tuple(self.stored.shape[1:])]

    @property
    def kinds(self) -> torch.Tensor:
        """Which of ``shapes`` each sample has, int64 ``[N]``."""
        if isinstance(self.stored, ShapedLatents):
            return self.stored.kinds
        return torch.zeros(len(self.stored), dtype=torch.long)

    def latents_at(self, places: torch.Tensor) -> torch.Tensor:
        """Return the latents ``[len(places), c, h, w]`` of samples of one shape.

        Raises:
            ValueError: the samples have several shapes.
        """
        return self.stored.at(places) if isinstance(self.stored, ShapedLatents) else self.stored[places]

    def runs(self, places: Sequence[int]) -> Iterator[slice]:
        """Yield the ranges of ``places`` whose samples are of one shape, neighbours together."""
        if isinstance(self.stored, ShapedLatents):
            yield from runs(self.stored.kinds[list(places)].tolist())
        elif places:
            yield slice(0, len(places))

    def ranges(self, places: Sequence[int], size: int) -> Iterator[slice]:
        """Yield ranges of ``places`` in order, of at most ``size`` samples of one shape each."""
        for first in range(0, len(places), size):
            for run in self.runs(places[first : first + size]):
                yield slice(first + run.start, first + run.stop)

    @property
    def entries(self) -> torch.Tensor:
        """The places of the samples that an epoch sees, each as often as it is seen, ``[sum of repeats]``."""
        places = torch.arange(len(self.ids))
        return places if self.repeats is None else places.repeat_interleave(self.repeats)

    def rows(self, start: int, stop: int) -> EncodedSamples:
        """Return the samples ``start`` to ``stop``."""
        return self.take(range(len(self.ids))[start:stop])

    def take(self, places: Sequence[int]) -> EncodedSamples:
        """Return the samples at ``places``, in that order."""
        rows = torch.tensor(places, dtype=torch.long)
        conditioning = {name: value[rows] for name, value in self.conditioning.items()}
        tokens = {name: value[rows] for name, value in self.tokens.items()}
        ids = [self.ids[place] for place in places]
        repeats, masks = (None if value is None else value[rows] for value in (self.repeats, self.masks))
        origins = None if self.origins is None else [self.origins[place] for place in places]
        stored = self.stored.take(rows) if isinstance(self.stored, ShapedLatents) else self.stored[rows]
        taken = (ids, stored, conditioning, self.unconditional, repeats, masks, origins)
        return EncodedSamples(*taken, bucketed=self.bucketed, tokens=tokens)

    def save(self, path: Path, truncated: int = 0) -> None:
        """Write everything to one safetensors file, with the number of prompts that were too long as ``truncated``."""
        latents = self.stored.tensors() if isinstance(self.stored, ShapedLatents) else {"latents": self.stored}
        tensors = {**latents, "truncated": torch.tensor(truncated)}
        tensors |= {f"conditioning/{name}": value for name, value in self.conditioning.items()}
        tensors |= {f"unconditional/{name}": value for name, value in self.unconditional.items()}
        tensors |= {f"tokens/{name}": value for name, value in self.tokens.items()}
        tensors |= {} if self.repeats is None else {"repeats": self.repeats}
        facts = {"ids": list(self.ids), **({"bucketed": True} if self.bucketed else {})}
        write_tensors(path, facts, tensors)

    @classmethod
    def load(cls, path: Path, start: int = 0, stop: int | None = None) -> EncodedSamples:
        """Read rows ``start`` to ``stop`` of a file written by :meth:`save`.

        Raises:
            UserError: the file is torn or foreign.
        """
        with SealedTensors(path, WHAT) as file:
            ids = file.facts["ids"]
            groups: dict[str, dict[str, torch.Tensor]] = {"conditioning": {}, "tokens": {}, "unconditional": {}}
            for key in file.names:
                group, _, name = key.partition("/")
                if group in ("conditioning", "tokens"):
                    groups[group][name] = file.rows(key, start, stop)
                elif group == "unconditional":
                    groups[group][name] = file.tensor(key)
            stored = _shaped(file, start, stop) if "kinds" in file.names else file.rows("latents", start, stop)
            repeats = file.rows("repeats", start, stop) if "repeats" in file.names else None
            bucketed = file.facts.get("bucketed", False)
        kept = (ids[start:stop], stored, groups["conditioning"], groups["unconditional"], repeats)
        return cls(*kept, bucketed=bucketed, tokens=groups["tokens"])

    @classmethod
    def load_named(cls, path: Path, ids: Sequence[str]) -> EncodedSamples:
        """Read the rows of some ids, in their order and as often as they are named; no others are read.

        Raises:
            UserError: the file is torn or foreign, or has no such sample.
        """
        with SealedTensors(path, WHAT) as file:
            known = {name: place for place, name in enumerate(file.facts["ids"])}
            missing = [name for name in ids if name not in known]
            if missing:
                raise UserError(f"{WHAT} '{path}' has no sample '{missing[0]}'; make what names it again.")
            return cls._read_at(file, [known[name] for name in ids])

    @classmethod
    def load_at(cls, path: Path, places: Sequence[int]) -> EncodedSamples:
        """Read the rows at ``places``, in that order and as often as they are named; no others are kept.

        Raises:
            UserError: the file is torn or foreign.
        """
        with SealedTensors(path, WHAT) as file:
            return cls._read_at(file, places)

    @classmethod
    def _read_at(cls, file: SealedTensors, places: Sequence[int]) -> EncodedSamples:
        groups: dict[str, dict[str, torch.Tensor]] = {"conditioning": {}, "tokens": {}, "unconditional": {}}
        for key in file.names:
            group, _, name = key.partition("/")
            if group in groups:
                groups[group][name] = file.tensor(key) if group == "unconditional" else file.rows_at(key, places)
        stored = _shaped_at(file, places) if "kinds" in file.names else file.rows_at("latents", places)
        told = ([file.facts["ids"][place] for place in places], stored, groups["conditioning"], groups["unconditional"])
        return cls(*told, bucketed=file.facts.get("bucketed", False), tokens=groups["tokens"])


def _shaped(file: SealedTensors, start: int, stop: int | None) -> ShapedLatents:
    """Read rows ``start`` to ``stop`` of latents of several shapes."""
    kinds = file.tensor("kinds")
    before, wanted = kinds[:start], kinds[start:stop]
    parts = []
    for kind, name in enumerate(name for name in file.names if name.startswith("latents/")):
        first, count = int((before == kind).sum()), int((wanted == kind).sum())
        parts.append(file.rows(name, first, first + count) if count else file.rows(name, 0, 1)[:0])
    return ShapedLatents(parts, wanted)


def _shaped_at(file: SealedTensors, places: Sequence[int]) -> ShapedLatents:
    """Read the rows at ``places`` of latents of several shapes."""
    kinds = file.tensor("kinds")
    wanted, parts = kinds[list(places)], []
    for kind, name in enumerate(name for name in file.names if name.startswith("latents/")):
        # Where each sample stands among those of its shape.
        within = (kinds == kind).cumsum(0) - 1
        parts.append(file.rows_at(name, within[list(places)][wanted == kind].tolist()))
    return ShapedLatents(parts, wanted)


def count_encoded(path: Path) -> int:
    """Return how many samples a file written by :meth:`EncodedSamples.save` holds.

    Raises:
        UserError: the file is torn or foreign.
    """
    with SealedTensors(path, WHAT) as file:
        return len(file.facts["ids"])


def require_one_shape(left: torch.Tensor, right: torch.Tensor, one: str, other: str) -> None:
    """Refuse to pair latents ``[N, c, h, w]`` of two shapes, whose noises have nothing to do with each other.

    Raises:
        UserError: naming both shapes.
    """
    if left.shape[1:] != right.shape[1:]:
        raise UserError(
            f"The {one} have latents of {tuple(left.shape[1:])} and the {other} of {tuple(right.shape[1:])}; make both "
            "at the data set's size."
        )
