"""What a family does with prompts: tokens, conditioning, and the text encoders that an adapter changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dmin.models.families.sampling import Conditioning, Tokens


class Texts:
    """Prompts as a denoiser reads them; a family without prompts leaves all as it is."""

    def prompt_tokens(self, prompts: Sequence[str]) -> Tokens:
        """Return what the text encoders read of ``prompts``, integers, each ``[batch, ...]``."""
        return {}

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Return the conditioning of what :meth:`prompt_tokens` gives, each ``[batch, ...]``, differentiably.

        A row depends on its own tokens alone.
        """
        return {}

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning tensors of ``prompts``, each ``[batch, ...]``."""
        return self.encode_tokens(self.prompt_tokens(prompts))

    def encode_nothing(self) -> Conditioning:
        """Return the conditioning of no prompt, each ``[1, ...]``: of dropped prompts, and what guidance leads away
        from."""
        return self.encode_prompts([""])

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        """Return the places of the prompts that are longer than every text encoder takes, and so are cut."""
        return []

    def prompt_shapes(self, clip_tokens: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor that :meth:`encode_prompts` makes of one prompt, from configs alone.

        Args:
            clip_tokens: what CLIP reads of a prompt.
        """
        return {}

    def adapted_text(self) -> dict[str, Any]:
        """Return the loaded text encoders that an adapter is on, by their names in the pipeline, in order."""
        return {}

    def text_encoder_of(self, part: str) -> Any:
        """Return a text encoder that an adapter may change, by its name in the pipeline, loaded if it was not.

        None where there is none of that name.
        """
        return None
