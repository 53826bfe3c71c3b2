"""What the contents of a user's files rerun, and that no mistake of the config costs a finished file."""

from __future__ import annotations

import os

import pytest
from checkout import MICRO, Checkout


@pytest.mark.parametrize(
    ("name", "begins", "told"),
    [
        ("data/red.parquet", "fetch_source", "stale: sources/micro/red.parquet (its files changed since it was made)"),
        (
            "data/blue/000.png",
            "fetch_source",
            "stale: sources/micro/blue.parquet (its files changed since it was made)",
        ),
        ("base/unet/config.json", "encode_samples", "its base changed since it was made"),
    ],
)
@pytest.mark.fault("a source or a base replaced, its old date kept", "what is made from it is made again")
def test_file_replaced_under_its_old_date_is_seen(finished: Checkout, name: str, begins: str, told: str) -> None:
    path = finished.root / name
    before, dates = path.read_bytes(), path.stat()
    assert finished.plan() == {}
    try:
        # The same length and the same inode, so that dates tell nothing.
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
        plan = finished.plan()
        verified = finished.snakemake("--cores", "1", "verify").stderr
    finally:
        path.write_bytes(before)
        # It says what was wrong then; every other log here says how its job ended.
        (finished.root / "logs" / "verify" / "verify.log").unlink()
    assert {begins, "train_model", "cache_gradients", "explorer"} <= set(plan)
    assert ("fetch_source" in plan) == (begins == "fetch_source") and told in verified
    assert finished.plan() == {}


def test_touched_sources_and_bases_rerun_nothing(finished: Checkout) -> None:
    for path in [*(finished.root / "data").rglob("*"), *(finished.root / "base").rglob("*")]:
        path.touch()
    assert finished.plan() == {}


@pytest.mark.attack(
    "config", "a `cache_dim` above the number of parameters, over a finished cache", "refused; the cache stays"
)
def test_width_above_the_parameters_removes_nothing(finished: Checkout) -> None:
    shards = sorted((finished.root / "results" / "runs" / "micro" / "gradients").rglob("*.safetensors"))
    before = [shard.stat().st_mtime_ns for shard in shards]
    wide = (
        MICRO.read_text().replace("cache_dim: 256", "cache_dim: 1048576").replace("widths: [64, 256]", "widths: [64]")
    )
    try:
        finished.write_config(wide)
        result = finished.snakemake("--cores", "1")
    finally:
        finished.write_config(MICRO.read_text())
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "Error: runs.micro.gradients.cache_dim is 1048576, above the " in result.stderr
    assert shards and [shard.stat().st_mtime_ns for shard in shards] == before
    assert finished.plan() == {}
