"""Parameter selections: what they match, in which order, and what the user is told."""

from __future__ import annotations

import pytest
from torch import nn

from dmin.gradients.selection import select_parameters
from dmin.runtime.errors import UserError


class _Denoiser(nn.Module):
    def __init__(self, adapter: bool) -> None:
        super().__init__()
        self.time = nn.Linear(2, 2)
        block = nn.ModuleDict({"query": nn.Linear(2, 2, bias=False)})
        if adapter:
            block["lora_A"] = nn.Linear(2, 1, bias=False)
            self.lora_head = nn.Linear(2, 2, bias=False)
        self.transformer_blocks = nn.ModuleList([block])


def test_each_selection_keeps_the_model_order() -> None:
    model = _Denoiser(adapter=True)
    assert list(select_parameters(model, "all")) == [name for name, _ in model.named_parameters()]
    assert list(select_parameters(model, "adapter")) == [
        "lora_head.weight",
        "transformer_blocks.0.lora_A.weight",
    ]
    assert list(select_parameters(model, "regex:bias$")) == ["time.bias"]


def test_paper_selection_prefers_the_adapter_inside_the_blocks() -> None:
    assert list(select_parameters(_Denoiser(adapter=True), "transformer_blocks")) == [
        "transformer_blocks.0.lora_A.weight"
    ]
    assert list(select_parameters(_Denoiser(adapter=False), "transformer_blocks")) == [
        "transformer_blocks.0.query.weight"
    ]


@pytest.mark.parametrize(
    ("selection", "hint"),
    [
        ("adapter", "no LoRA adapter"),
        ("regex:nothing", "match names such as"),
        ("regex:(", "not a valid regular expression"),
        ("weights", "is unknown"),
    ],
)
def test_bad_selection_is_told_in_one_sentence(selection: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as caught:
        select_parameters(_Denoiser(adapter=False), selection)
    message = str(caught.value)
    assert repr(selection) in message
    assert "\n" not in message
    assert message.endswith(".")


def test_paper_selection_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="no transformer blocks"):
        select_parameters(nn.Linear(2, 2), "transformer_blocks")
