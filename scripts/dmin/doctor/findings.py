"""What was found, as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dmin.plan.render import align
from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError, one_line

Status = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One fact.

    Attributes:
        subject: what it is of, as the config names it.
        check: what was looked at.
        found: what was found; of a fault, the sentence that says what to do.
        status: ``ok``; ``note``, which a user should know; ``fault``, which a run would be refused for, or wrong by.
    """

    subject: str
    check: str
    found: str
    status: Status = "ok"


@dataclass
class Report:
    """All findings; what a check refuses is one of them, and does not keep the next from being made."""

    findings: list[Finding] = field(default_factory=list)

    def add(self, subject: str, check: str, found: str, status: Status = "ok") -> None:
        """Add a finding."""
        self.findings.append(Finding(subject, check, one_line(found), status))

    def take(self, subject: str, check: str, examine: Callable[..., Iterator[Finding]], *given: Any) -> bool:
        """Add the findings of an examination until it refuses, and that as a fault; return whether it did not."""
        try:
            self.findings.extend(examine(*given))
        except UserError as error:
            self.add(subject, check, str(error), "fault")
            return False
        return True

    @property
    def faults(self) -> list[str]:
        """The sentences of the faults, each once, in the order in which they were found."""
        return list(dict.fromkeys(finding.found for finding in self.findings if finding.status == "fault"))

    def write(self, path: Path) -> None:
        """Write ``faults`` (sentences) and ``findings`` (objects with the attributes of :class:`Finding`) as JSON."""
        write_json({"faults": self.faults, "findings": [asdict(finding) for finding in self.findings]}, path)

    def text(self) -> str:
        """Return the table of what was found, and below it the sentences of the faults."""
        rows = [
            [finding.status, finding.subject, finding.check, finding.found]
            for finding in self.findings
            if finding.status != "fault"
        ]
        parts = [align(["", "of", "what", "found"], rows)] if rows else []
        parts.append(_listed(self.faults))
        return "\n\n".join(parts)


def _listed(faults: Iterable[str]) -> str:
    lines = [f"{number}. {sentence}" for number, sentence in enumerate(faults, 1)]
    if not lines:
        return "Nothing found that a run would be refused for."
    return "\n".join([f"{len(lines)} to mend before a run:", *lines])
