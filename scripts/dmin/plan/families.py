"""The table of known bases on the page of the plan: parameters, memory, and P of adapters of three ranks.

``python -m dmin.plan.families`` in a checkout writes it; weights are neither there nor loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from dmin.plan.architecture import read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.plan.render import align, human_bytes
from dmin.settings.models import Base, Lora
from dmin.settings.pages import replace_part
from dmin.settings.schema import read_schema

# By family, with the size that they were made for.
BASES = (
    ("stable_diffusion", "CompVis/stable-diffusion-v1-4", 512),
    ("stable_diffusion_xl", "stabilityai/stable-diffusion-xl-base-1.0", 1024),
    ("stable_diffusion_3", "stabilityai/stable-diffusion-3-medium-diffusers", 1024),
    ("stable_diffusion_3", "stabilityai/stable-diffusion-3.5-medium", 1024),
    ("stable_diffusion_3", "stabilityai/stable-diffusion-3.5-large", 1024),
    ("flux", "black-forest-labs/FLUX.1-dev", 1024),
    ("flux", "black-forest-labs/FLUX.1-schnell", 1024),
    ("flux2", "black-forest-labs/FLUX.2-klein-4B", 1024),
    ("flux2", "black-forest-labs/FLUX.2-klein-9B", 1024),
    ("z_image", "Tongyi-MAI/Z-Image-Turbo", 1024),
    ("qwen_image", "Qwen/Qwen-Image", 1024),
)
RANKS = (4, 16, 32)
SHIPPED = Path("resources/architectures")
PAGE, NAME = Path("docs/plan.md"), "families"
HEADER = [
    "family", "base", "px", "denoiser", "float32", "bfloat16", *(f"P, rank {rank}" for rank in RANKS),
    "activations per row", "encoded prompt",
]  # fmt: skip


def render_bases(root: Path) -> str:
    """Return the table, with the adapter's targets as the schema of the checkout ``root`` has them by default."""
    schema = read_schema(root / "schemas" / "config.schema.yaml")
    targets = schema["$defs"]["model"]["properties"]["lora"]["properties"]["targets"]["default"]
    rows = []
    for family, path, size in BASES:
        base = cast(Base, {"family": family, "path": path, "revision": None})
        architecture = read_architecture(path, base, root / SHIPPED)
        adapters: list[Lora] = [{"rank": rank, "alpha": rank, "targets": targets} for rank in RANKS]
        denoisers = [MetaDenoiser(architecture, lora, "adapter") for lora in adapters]
        values = denoisers[0].total - denoisers[0].attributed
        rows.append(
            [
                family, path.partition("/")[2], str(size), f"{values:,}", human_bytes(4 * values),
                human_bytes(2 * values), *(f"{denoiser.attributed:,}" for denoiser in denoisers),
                human_bytes(denoisers[0].saved_bytes(size)), human_bytes(4 * denoisers[0].conditioning_values()),
            ]
        )  # fmt: skip
    return align(HEADER, rows)


def main(root: Path) -> None:
    """Write the table into the page of a checkout."""
    page = root / PAGE
    page.write_text(replace_part(page.read_text(encoding="utf-8"), str(PAGE), NAME, render_bases(root)), "utf-8")


if __name__ == "__main__":
    main(Path())
