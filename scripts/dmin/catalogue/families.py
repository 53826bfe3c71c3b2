"""The model families: what each can do. A family is one file of ``dmin.models.families``."""

from __future__ import annotations

from dataclasses import dataclass, field

from .entries import read_entries

FOLDER = "models/families"


@dataclass(frozen=True)
class FamilyEntry:
    """What the workflow must know of a family before anything runs.

    Attributes:
        name: its name in the config; the name of its file.
        kind: the class of its file that loads it.
        summary: one line for tables of families.
        conditional: it takes prompts.
        adapter: it takes a LoRA adapter; otherwise it is fine-tuned in full.
        shapes: it takes images of several shapes.
        objectives: the values of ``gradients.objective`` that it has; the first is that of its training.
        preconditions: its training may weigh the loss as preconditioning the output does.
        pndm: it samples with PNDM, whose descending list of timesteps repeats its second.
        guidance: what its guidance embedding is given in training and gradients unless the base says otherwise; None
            for a family without one.
        pipelines: the pipelines of diffusers that it loads, the first of which it writes; a base of one of these can
            be of no other family.
        hub_mb: what the largest of its models loads at once in single precision, denoiser or encoders, for those on the
            hub.
        known_as: first letters, small, of what trainers of adapters call models of its kind in their files
            (``ss_base_model_version``, ``modelspec.architecture``); none where adapters are not checked by it.
    """

    name: str
    kind: str
    summary: str
    conditional: bool = True
    adapter: bool = True
    shapes: bool = True
    objectives: tuple[str, ...] = ("training",)
    preconditions: bool = False
    pndm: bool = False
    guidance: float | None = None
    pipelines: tuple[str, ...] = ()
    hub_mb: int = 5000
    known_as: tuple[str, ...] = ()
    module: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", f"dmin.{FOLDER.replace('/', '.')}.{self.name}")


FAMILIES: dict[str, FamilyEntry] = {
    name: FamilyEntry(name=name, **entry) for name, entry in read_entries(FOLDER, "FAMILY").items()
}
