"""The behaviours of games: what each reads and needs. A behaviour is one file of ``dmin.games.behaviours``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .entries import read_entries

FOLDER = "games/behaviours"


@dataclass(frozen=True)
class BehaviourEntry:
    """What the workflow must know of a behaviour before anything runs.

    Attributes:
        name: its name in the config; the name of its file. In tables it ends in that of the encoder, for one that reads
            features, and in that of its part, for one that has several.
        reads: the ``images`` that members generated, their ``features``, or the ``model`` itself.
        summary: one line for tables of behaviours.
        range: the range of its values or their unit.
        needs: what it compares with: the ``train`` images, a ``classifier``, held-out ``reference`` samples, or the
            ``query``, one image of the whole model.
    """

    name: str
    reads: Literal["images", "features", "model"]
    summary: str
    range: str
    needs: tuple[str, ...] = ()
    module: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", f"dmin.{FOLDER.replace('/', '.')}.{self.name}")


BEHAVIOURS: dict[str, BehaviourEntry] = {
    name: BehaviourEntry(name=name, **entry) for name, entry in read_entries(FOLDER, "BEHAVIOUR").items()
}
