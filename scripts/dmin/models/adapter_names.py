"""What the names of an adapter's tensors say: its format, and which layers of the denoiser it changes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

PREFIXES = ("transformer.", "unet.", "base_model.model.")
PARTS = (".lora_A.weight", ".lora_B.weight")
_TEXT = re.compile(r"(base_model\.model\.)?(text_encoder(_\d)?|text_model)\.")
# What a name that is no layer's lora_A or lora_B belongs to, the first that matches.
_FORMATS = {
    r"^lora_(unet|te\d?|transformer)_|\.alpha$": "sd-scripts (kohya)",
    r"\.processor\.|_lora\.(down|up)\.weight$": "the attention processors of old diffusers",
    r"\.lora(_linear_layer)?\.(down|up)\.weight$|\.lora_(down|up)\.weight$": "diffusers before PEFT",
    r"hada_w|lokr_|oft_|boft_|glora|ia3_|\.diff(_b)?$": "LyCORIS or another kind than LoRA",
    r"lora_magnitude_vector|dora_scale": "DoRA, whose magnitudes are not supported",
    r"\.lora_[AB]\.bias$|\.lora_bias$": "PEFT with a bias of its own (lora_bias), which is not supported",
    r"\.lora_[AB]\.[^.]+\.weight$": "PEFT's modules in memory; write it with save_pretrained",
    r"lora_embedding_": "an embedding's LoRA, which is not supported",
    r"modules_to_save|\.base_layer\.": "PEFT with whole layers beside it (modules_to_save), which is not supported",
    r"^(model\.)?diffusion_model\.": "a checkpoint of the original code",
}


def name_layers(source: str, names: Collection[str]) -> dict[str, str]:
    """Return the name of each tensor as the denoiser names it: ``{layer}.lora_A.weight`` and ``{layer}.lora_B.weight``.

    Raises:
        UserError: a tensor is of another format, which is named where it is known, or changes a text encoder; a layer
            has one of its two; there is none.
    """
    for name in sorted(names):
        found = next((kind for pattern, kind in _FORMATS.items() if re.search(pattern, name)), None)
        if found is not None or not name.endswith(PARTS):
            looks = f", it looks like {found}" if found else ""
            raise UserError(
                f"Adapter '{source}' has '{shown(name)}' and is no LoRA in the diffusers format (*.lora_A.weight, "
                f"*.lora_B.weight{looks}); convert it."
            )
    if not names:
        raise UserError(f"Adapter '{source}' has no tensor; download it again.")
    text = next((name for name in sorted(names) if _TEXT.match(name)), None)
    if text is not None:
        raise UserError(
            f"Adapter '{source}' changes the text encoder too ('{shown(text)}'), which stays frozen here; give the "
            "denoiser's part alone, or merge it into a full model."
        )
    own = {name: name for name in names}
    while prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in own.values())), ""):
        own = {name: value.removeprefix(prefix) for name, value in own.items()}
    _require_pairs(source, own)
    return own


def _require_pairs(source: str, own: Mapping[str, str]) -> None:
    present = set(own.values())
    for name in sorted(present):
        part = next(part for part in PARTS if name.endswith(part))
        other = name.removesuffix(part) + PARTS[1 - PARTS.index(part)]
        if other not in present:
            raise UserError(f"Adapter '{source}' has '{shown(name)}' and no '{shown(other)}'; download it again.")
        if not name.removesuffix(part):
            raise UserError(f"Adapter '{source}' has '{shown(name)}', which names no layer; download it again.")
