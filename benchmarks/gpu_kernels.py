"""How fast a device sketches gradients and scores stores of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from gpu_scale import Row, Scale, free, row, seconds_of
from gradient_sketch_speed import sketch_steps


def sketching(scale: Scale) -> Iterator[Row]:
    """Yield the bytes of gradient per second that each sketch takes, beside a read and a copy of the same."""
    sizes = ((40_000, 4096, 4),) if scale.toy else ((1_179_648, 65_536, 16), (35_746_307, 65_536, 64))
    for count, width, batch in sizes:
        block = torch.randn(batch, min(2**20, count), device=scale.device)
        starts = range(0, count, block.shape[1])
        steps = sketch_steps(count, width, batch, scale.device)
        steps["copy"] = lambda block=block, starts=starts: [block.clone() for _ in starts][-1]  # type: ignore[misc]
        for method, step in steps.items():
            rate = 4e-9 * count * batch / seconds_of(step, scale.device)
            yield row(f"P = {count:,}", method, "gradient", rate, "GB/s")
        del block, steps
        free(scale.device)


def scoring(scale: Scale) -> Iterator[Row]:
    """Yield the time of scores and of exact lists of the best 100, and whether they are those of fp64."""
    count, width = (2000, 256) if scale.toy else (1_000_000, 4096)
    generator = torch.Generator(scale.device).manual_seed(0)
    store = torch.empty(count, width, device=scale.device, dtype=torch.float16)
    for part in store.split(2**16):
        part.copy_(torch.randn(part.shape, generator=generator, device=scale.device) / width**0.5)
    size = store.numel() * store.element_size()
    read = seconds_of(lambda: store.view(torch.int16).max(), scale.device)
    model = f"{count:,} x {width:,}"
    yield row(model, "read", "store", 1e-9 * size / read, "GB/s")
    for asked in (1, 100):
        queries = torch.randn(asked, width, generator=generator, device=scale.device).half()
        taken = seconds_of(lambda queries=queries: (queries @ store.T).topk(100), scale.device)  # type: ignore[misc]
        yield row(model, f"{asked} queries", "scores and best 100", 1000 * taken, "ms")
        yield row(model, f"{asked} queries", "of a read", read / taken)
        best = (queries[:1].float() @ store.float().T if scale.toy else _wide(queries[:1], store)).topk(100).indices
        found = (queries[:1] @ store.T).topk(100).indices
        yield row(model, f"{asked} queries", "recall at 100", len({*found[0].tolist()} & {*best[0].tolist()}) / 100)


def _wide(query: torch.Tensor, store: torch.Tensor) -> torch.Tensor:
    return torch.cat([query.float() @ part.float().T for part in store.split(2**16)], 1)
