"""What a trainer knows the samples of a data set by: their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def file_names(files: Mapping[str, str | None]) -> dict[str, str]:
    """Return the name of the file of each sample, by id, such that no two samples have one.

    Args:
        files: by id, the file from the folder of its source on; None where there is none.

    Returns:
        the files, after the names of their sources where there are several; the id of a sample without a file, and of
        those that share one.
    """
    several = len({source_of(name) for name in files}) > 1
    names = {name: f"{source_of(name)}/{file}" if several else file for name, file in files.items() if file}
    count = Counter(names.values())
    return {name: names[name] if name in names and count[names[name]] == 1 else name for name in files}


def source_of(name: str) -> str:
    """Return the source that a sample's id names."""
    return name.partition("/")[0]
