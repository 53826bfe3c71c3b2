"""Whole denoisers: exactness, invariance and reduced precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel, UNet2DModel
from gradient_oracle import captured, check, expected, worst_relative_error
from peft import LoraConfig
from torch import Tensor, nn

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.selection import select_parameters
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.count_sketch import CountSketch

BATCH = 3
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def _normal(*shape: int) -> Tensor:
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


def _conditional() -> nn.Module:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def _adapted() -> nn.Module:
    model = _conditional()
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, init_lora_weights=False))
    return model


def _unconditional() -> nn.Module:
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
        downsample_padding=0,
    )


def _transformer() -> nn.Module:
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=8,
        pooled_projection_dim=10,
        out_channels=4,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )


def _losses(rows: Tensor) -> Callable[[nn.Module], Tensor]:
    """Return the losses of the given rows of a fixed batch of mixed timesteps."""

    def losses(model: nn.Module) -> Tensor:
        dtype = next(model.parameters()).dtype
        latents, tokens, pooled = (_normal(*s)[rows].to(dtype) for s in ((4, 8, 8), (5, 12), (10,)))
        timesteps = torch.tensor([1, 500, 980])[rows]
        if isinstance(model, UNet2DModel):
            output = model(latents[:, :3], timesteps).sample
        elif isinstance(model, UNet2DConditionModel):
            output = model(latents, timesteps, tokens).sample
        else:
            output = model(latents, tokens, pooled, timesteps).sample
        return (output if output.dtype == torch.float64 else output.float()).square().flatten(1).mean(1)

    return losses


ALL_ROWS = torch.arange(BATCH)
FAMILIES = [
    (_adapted, "adapter"),
    (_conditional, "transformer_blocks"),
    (_unconditional, "all"),
    (_transformer, "all"),
]


@pytest.mark.parametrize(("build", "selection"), FAMILIES)
def test_model_agrees_with_autograd(build: Callable[[], nn.Module], selection: str) -> None:
    torch.manual_seed(0)
    model = build().eval()
    single = captured(model, selection, _losses(ALL_ROWS), BATCH)
    model.double()
    check(model, _losses(ALL_ROWS), BATCH, selection=selection)
    assert worst_relative_error(single, expected(model, selection, _losses(ALL_ROWS), BATCH)) <= 1e-5
    engine = PerSampleGradients(model, select_parameters(model, selection))
    assert "autograd" not in {row.path for row in engine.coverage}


@pytest.mark.parametrize(("build", "selection"), FAMILIES[:3])
def test_batch_size_and_order_do_not_change_the_sketch(build: Callable[[], nn.Module], selection: str) -> None:
    torch.manual_seed(0)
    model = build().eval()
    engine = PerSampleGradients(model, select_parameters(model, selection))
    sketch = CountSketch(engine.parameter_count, 1024, seed=0)

    def sketches(rows: list[int]) -> Tensor:
        sink = SketchSink(sketch, len(rows))
        with engine.capture(len(rows), sink):
            _losses(torch.tensor(rows))(model).sum().backward()
        unit, norm = sink.finish()
        return torch.cat([unit, norm.log().unsqueeze(1)], 1)

    together = sketches([0, 1, 2])
    shuffled = sketches([2, 0, 1])[[1, 2, 0]]
    alone = torch.cat([sketches([row]) for row in range(BATCH)])
    assert worst_relative_error(shuffled, together) <= 1e-5
    assert worst_relative_error(alone, together) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("build", "selection"), [FAMILIES[0], FAMILIES[2]])
def test_half_precision_keeps_the_direction(build: Callable[[], nn.Module], selection: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = build().eval()

    def halved(model: nn.Module) -> Tensor:
        with torch.autocast("cpu", dtype):
            return _losses(ALL_ROWS)(model)

    found = captured(model, selection, halved, BATCH)
    reference = expected(model.double(), selection, _losses(ALL_ROWS), BATCH)
    cosine = torch.nn.functional.cosine_similarity(found, reference, dim=1)
    assert float(cosine.min()) > (0.99 if dtype == torch.bfloat16 else 0.9999)
