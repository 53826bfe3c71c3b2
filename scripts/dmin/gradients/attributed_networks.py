"""The networks whose parameters are attributed: the denoiser, with the text encoders of an adapter where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from dmin.gradients.selection import select_parameters
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.families.sampling import Conditioning
from dmin.runtime.attributed import WITH_TEXT, is_adapted
from dmin.runtime.errors import UserError


def attributed_parts(selection: str) -> list[str]:
    """Return the parts of a model that are loaded to differentiate in the parameters of a selection."""
    return ["denoiser", "text"] if selection == WITH_TEXT else ["denoiser"]


@dataclass(frozen=True)
class AttributedNetworks:
    """What gradients are taken in.

    Attributes:
        family: the loaded model, with the parts of :func:`attributed_parts`.
        network: the denoiser; with text encoders, a module that has the layers of the denoiser and, under their names
            in the pipeline, these encoders.
        parameters: those of it that are attributed, by name.
        with_text: prompts are encoded inside the pass, so that the loss depends on the text encoders.
    """

    family: Family
    network: nn.Module
    parameters: Mapping[str, nn.Parameter]
    with_text: bool

    @classmethod
    def select(cls, family: Family, selection: str) -> AttributedNetworks:
        """Select parameters as :func:`select_parameters` does.

        Tensors of an adapter that no conditioning depends on, as those of a layer behind the hidden states that are
        read, are left out: their gradient is zero for every sample.

        Raises:
            UserError: as that function, or text encoders are asked for and no adapter is on any.
        """
        if selection != WITH_TEXT:
            return cls(family, family.denoiser, select_parameters(family.denoiser, selection), with_text=False)
        encoders = family.adapted_text()
        if not encoders:
            raise UserError(
                f"gradients.parameters is {WITH_TEXT}, but the adapter changes no text encoder; set it to adapter."
            )
        network = _Together(family.denoiser, encoders)
        parameters = select_parameters(network, selection)
        unused = _unused(family, encoders)
        return cls(family, network, {name: parameters[name] for name in parameters if name not in unused}, True)

    def read_of(self, samples: EncodedSamples) -> Mapping[str, torch.Tensor]:
        """Return what the networks read of the samples' prompts, each ``[N, ...]``: tokens, or the conditioning.

        Raises:
            UserError: text encoders are asked for, and the samples were encoded without tokens.
        """
        if self.with_text and not samples.tokens:
            raise UserError(
                f"gradients.parameters is {WITH_TEXT}, but the samples were encoded for a model whose adapter changes "
                "no text encoder; delete the encoded samples and run again."
            )
        return samples.tokens if self.with_text else samples.conditioning

    def condition(self, given: Mapping[str, torch.Tensor]) -> Conditioning:
        """Return the conditioning of rows of what :meth:`read_of` gives, on the device.

        With text encoders it depends on their parameters, and is computed in the pass that is differentiated.
        """
        rows = {name: value.to(self.family.device) for name, value in given.items()}
        return self.family.encode_tokens(rows) if self.with_text else rows


class _Together(nn.Module):
    """A denoiser's layers under their own names, and text encoders beside them."""

    def __init__(self, denoiser: nn.Module, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in [*denoiser.named_children(), *encoders.items()]:
            self.add_module(name, module)


def _unused(family: Family, encoders: Mapping[str, nn.Module]) -> set[str]:
    """Return the names of an adapter's tensors in text encoders that no conditioning depends on."""
    adapted = {
        f"{part}.{name}": value
        for part, encoder in encoders.items()
        for name, value in encoder.named_parameters()
        if is_adapted(name)
    }
    for value in adapted.values():
        value.requires_grad_(True)
    conditioning = [value for value in family.encode_tokens(family.prompt_tokens([""])).values() if value.requires_grad]
    total = torch.stack([value.float().sum() for value in conditioning]).sum()
    found = torch.autograd.grad(total, list(adapted.values()), allow_unused=True)
    return {name for name, gradient in zip(adapted, found, strict=True) if gradient is None}
