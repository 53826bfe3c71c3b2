"""Which parameters the influence is measured on."""

from __future__ import annotations

import re

from torch import nn

from dmin.runtime.attributed import ADAPTER, BLOCKS, PATTERN, WITH_TEXT, select_names
from dmin.runtime.errors import UserError


def select_parameters(model: nn.Module, selection: str) -> dict[str, nn.Parameter]:
    """Return the parameters named by ``selection``, keyed by name, in ``model.named_parameters()`` order.

    ``adapter``: those of an adapter, LoRA, DoRA, LoKr or LoHa; ``adapter_with_text`` is the same choice of more
    networks. ``all``: every parameter. ``transformer_blocks``: the
    paper's choice, names containing ``transformer_blocks``, limited to the adapter where the model has one.
    ``regex:<pattern>``: names in which ``pattern`` is found anywhere.

    Raises:
        UserError: the selection is unknown, its pattern is malformed, or it matches nothing.

    Source: DMin, parameters included in the gradient.
    """
    named = dict(model.named_parameters())
    if selection == "all":
        remedy = "the model has no parameters, so load another model"
    elif selection in (ADAPTER, WITH_TEXT):
        remedy = "the model has no LoRA adapter, so train one or choose 'all' or 'transformer_blocks'"
    elif selection == BLOCKS:
        remedy = "the model has no transformer blocks of that name, so choose 'adapter' or 'all'"
    elif selection.startswith(PATTERN):
        _check_pattern(selection)
        remedy = f"match names such as {next(iter(named), 'none')!r}"
    else:
        raise UserError(
            f"Parameter selection {selection!r} is unknown: use 'adapter', 'adapter_with_text', 'all', "
            "'transformer_blocks' or 'regex:<pattern>'."
        )
    chosen = {name: named[name] for name in select_names(named, selection)}
    if not chosen:
        raise UserError(f"Parameter selection {selection!r} matches no parameter: {remedy}.")
    return chosen


def _check_pattern(selection: str) -> None:
    try:
        re.compile(selection.removeprefix(PATTERN))
    except re.error as error:
        raise UserError(
            f"Parameter selection {selection!r} is not a valid regular expression ({error}): correct the pattern."
        ) from error
