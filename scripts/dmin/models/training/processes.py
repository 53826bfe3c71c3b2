"""The processes that share a training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


class Processes:
    """The processes that share each step of a training: each takes its rows of the batch, and gradients are summed.

    Batches, timesteps and noises are drawn for the whole step in every process, so the number of processes changes no
    more than the order of sums. One process alone exchanges nothing.

    Args:
        accelerator: of accelerate, in a process that it or torchrun launched; None for one process alone.
    """

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator
        self.main = accelerator is None or accelerator.is_main_process

    @property
    def device(self) -> torch.device | None:
        """The device of this process; None leaves the choice to the caller."""
        return None if self._accelerator is None else self._accelerator.device

    def own_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows, of ``rows``, that are this process's."""
        if self._accelerator is None:
            return rows
        return rows.tensor_split(self._accelerator.num_processes)[self._accelerator.process_index]

    def sum_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Give every process the sum of the gradients of all."""
        if self._accelerator is not None:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = self._accelerator.reduce(parameter.grad, "sum")

    def total(self, value: float) -> float:
        """Return the sum of a number over the processes."""
        if self._accelerator is None:
            return value
        return float(self._accelerator.reduce(torch.tensor(value, device=self._accelerator.device), "sum"))

    def agree(self, reason: str | None) -> str | None:
        """Return the first reason that any process gives, the same in all."""
        if self._accelerator is None:
            return reason
        return next((given for given in gather_object([reason]) if given is not None), None)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


ALONE = Processes()
