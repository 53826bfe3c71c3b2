"""Results read back: what is torn is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmin.runtime.checksums import TornError, check_record, open_json
from dmin.runtime.errors import UserError, missing_file

if TYPE_CHECKING:
    import pandas as pd


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file of ``write_json``, checked against its checksum, which is taken out.

    A file without a checksum passes.

    Raises:
        UserError: the file is missing, torn or no object.
    """
    content, _ = load_json(path)
    if not isinstance(content, dict):
        raise UserError(f"File '{path}' is torn (it holds no object); delete it and run again.")
    return content


def load_json(path: Path) -> tuple[Any, bool]:
    """Read a JSON file as :func:`read_json`, whatever it holds, and say whether it had a checksum."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return open_json(content) if isinstance(content, dict) else (content, False)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except IsADirectoryError as error:
        raise UserError(_folder(path)) from error
    except (ValueError, RecursionError, TornError) as error:
        raise UserError(f"File '{path}' is torn ({error}); delete it and run again.") from error


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table of ``write_csv``, checked against the checksum beside it; ``options`` are those of pandas.

    A file without a checksum passes.

    Raises:
        UserError: the file is missing or torn.
    """
    import pandas as pd  # here, so that this module is light

    try:
        check_record(path)
        return pd.read_csv(path, **options)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except IsADirectoryError as error:
        raise UserError(_folder(path)) from error
    except (ValueError, TornError) as error:
        raise UserError(f"File '{path}' is torn ({error}); delete it and run again.") from error


def _folder(path: Path) -> str:
    return f"'{path}' is a folder and no file; remove it and run again."
