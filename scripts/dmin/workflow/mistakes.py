"""What is wrong with a config, all of it and not the first alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..runtime.errors import UserError


class Mistakes:
    """Runs checks and keeps the sentences of those that refuse.

    Attributes:
        found: the sentences, each once.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, *checks: Callable[..., Any], of: Sequence[Any]) -> bool:
        """Run checks on the same arguments, each whatever another has found; return whether all pass."""
        before = len(self.found)
        for check in checks:
            try:
                check(*of)
            except UserError as error:
                # Some tell it with the key, and others that meet it later without.
                if not any(str(error) in told for told in self.found):
                    self.found.append(str(error))
            except Exception:
                # What an earlier check has refused may be what a later one trips over.
                if not self.found:
                    raise
        return len(self.found) == before

    def tell(self) -> None:
        """Raise the first of what was found, which may be what the others follow from.

        Raises:
            UserError: there is something.
        """
        if self.found:
            raise UserError(self.found[0])
