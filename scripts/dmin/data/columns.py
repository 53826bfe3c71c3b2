"""Which columns of a source hold its images, captions, labels and origins."""

from __future__ import annotations

from dataclasses import dataclass

from dmin.data.opened import Opened, check_image_type
from dmin.folders.files import UnreadableSourceError
from dmin.folders.tables import image_columns
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown
from dmin.settings.models import Source

AUTO = "auto"
# Where captions are by custom, here and in data sets that diffusers, sd-scripts and musubi-tuner train on.
CAPTIONS = ("prompt", "text", "caption")
IMAGE = "image"


@dataclass(frozen=True)
class Columns:
    """The columns of a source; None for what it does not have."""

    image: str
    caption: str | None
    label: str | None
    origin: str | None

    @property
    def read(self) -> list[str]:
        """The columns that are read, in order of their names."""
        return sorted({column for column in (self.image, self.caption, self.label, self.origin) if column is not None})


def choose_columns(name: str, config: Source, table: Opened) -> Columns:
    """Return the columns that the settings of a source name, or that custom does.

    Raises:
        UserError: one is not there, there are no captions, or that of images holds something else.
    """
    path, known = config["path"], [shown(str(column)) for column in table.columns]
    if not known:
        raise UserError(f"Source '{name}': '{path}' has no columns; set path to a file of images.")
    image, caption = config["image_column"], config["caption_column"]
    if image == IMAGE and image not in table.columns:
        image = _named(name, config, table) or image
    automatic = caption == AUTO and AUTO not in table.columns
    if automatic:
        caption = next((column for column in CAPTIONS if column in table.columns), None)
    chosen = {"image": image, "caption": caption, "label": config["label_column"], "origin": config["origin_column"]}
    for key, column in chosen.items():
        if column is not None and column not in table.columns:
            hint = "" if key == "image" else ", or to null for none"
            raise UserError(
                f"Source '{name}': '{path}' has no column '{column}'; set {key}_column to one of "
                f"{', '.join(known)}{hint}."
            )
    if automatic and caption is None and config["on_empty_caption"] == "error":
        raise UserError(
            f"Source '{name}': '{path}' has no captions, neither in a column {', '.join(CAPTIONS[:-1])} or "
            f"{CAPTIONS[-1]} nor in files beside its images; set caption_column to one of {', '.join(known)}, or to "
            "null for none."
        )
    try:
        check_image_type(image, table.columns[image])
    except UserError as error:
        raise UserError(f"Source '{name}': {error}") from error
    return Columns(image, caption, config["label_column"], config["origin_column"])


def _named(name: str, config: Source, table: Opened) -> str | None:
    """Return the column of images' paths in a table without a column image; None where none is known to be it."""
    try:
        found = image_columns(list(table.columns), config["path"])
        chosen = [column for column, called in found.items() if called == IMAGE] or list(found)
        return chosen[0] if len(chosen) == 1 else None
    except UnreadableSourceError as error:
        if error.fix:
            raise UserError(f"Source '{name}': {error}; {error.fix}.") from error
        return None
