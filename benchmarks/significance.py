"""Whether p-values tell what a model was trained on from what it was retrained without, by the models of a bank.

``python benchmarks/significance.py RESULTS`` reads a finished run of config/banks.yaml whose scores are ranked among
held-out ones, and writes ``benchmarks/results/significance.csv`` and its part of docs/significance.md. Each retraining
had one half of the training images: of the other half nothing should be found but by chance.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from page_part import write_part

from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.significance import rank_among, same_kind
from dmin.evaluation.intervals import rate_interval
from dmin.gradients.cache_inputs import CacheInputs
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.scale import TensorScale
from dmin.gradients.shard import Shard
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_trained
from dmin.retraining.members import Member
from dmin.retraining.sets import read_sets
from dmin.runtime.meter import hardware_label

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = ROOT / "benchmarks" / "results" / "significance.csv", ROOT / "docs" / "significance.md"
METHODS = ("dmin", "dmin_scaled")
CONFIDENCE, BATCH = 0.95, 64


@dataclass(frozen=True)
class Names:
    """Which run is read: its bank, its data set and the key of its base."""

    run: str
    bank: str
    dataset: str
    base: str


class Banked:
    """A run and its bank: encoded images, settings of its gradients, and which images each retraining had."""

    def __init__(self, results: Path, names: Names) -> None:
        self.results, self.names = results, names
        encoded = results / "encoded" / names.dataset / names.base
        self.train, self.held_out = (EncodedSamples.load(encoded / f"{part}.safetensors") for part in ("train", "test"))
        folder = results / "runs" / names.run
        shard = Shard(next((folder / "gradients" / "loss" / "train").glob("00000000-*.safetensors")))
        self.config = {**shard.provenance["config"]["gradients"], "keep_raw": False}
        self.timesteps = shard.metadata["timesteps"]
        self.scale = TensorScale.load(folder / "pilot_scale" / "loss.json", 1)
        self.base = {"family": "ddpm", "path": str(ROOT / "resources" / "architectures" / names.base), "revision": None}
        self.queries = EncodedSamples.load(folder / "queries" / "queries.safetensors")
        data = results / "datasets" / names.dataset
        queries = folder / "queries" / "queries.parquet"
        tables = SampleTables(queries, data / "train.parquet", data / "test.parquet")
        known, parts = tables.subsets(), (self.queries, self.train, self.held_out)
        asked, train, held_out = ([known[name] for name in part.ids] for part in parts)
        # Queries are held-out images, which are not compared with themselves.
        self.compared = same_kind(asked, held_out, True) & tables.differ(self.queries.ids, self.held_out.ids)
        self.tested = same_kind(asked, train, True)

    def trained(self, member: Member) -> np.ndarray:
        """Return which training images a retraining had, boolean ``[train]``."""
        files = sorted((self.results / "banks" / self.names.bank / "sets").glob("*.parquet"))
        had: np.ndarray = read_sets(files, self.train.ids)[member.set]
        return had

    def model(self, member: Member) -> TrainedModel:
        """Return the model of a retraining."""
        (folder,) = (self.results / "banks" / self.names.bank / "models").glob(f"*/{member.name}")
        return TrainedModel(self.base, folder / "pipeline")

    def gradients(self, family: Family, encoded: EncodedSamples, method: str) -> np.ndarray:
        """Return unit sketches ``[samples, T, v]`` under the model of a retraining."""
        inputs = CacheInputs(scale=self.scale if method == "dmin_scaled" else None)
        gradient_pass = GradientPass(family, encoded, self.config, {"quantity": "loss", "draws": 1}, inputs)
        rows = [(sample, timestep) for sample in range(len(encoded.ids)) for timestep in self.timesteps]
        found = [gradient_pass.compute(rows[at : at + BATCH])["sketch"] for at in range(0, len(rows), BATCH)]
        return torch.cat(found).float().numpy().reshape(len(encoded.ids), len(self.timesteps), -1)


def measure(banked: Banked, member: Member, method: str, fdr: float) -> list[dict[str, object]]:
    """Return a row per query: how many images of either half are as likely as not, and how many are found."""
    parts = (banked.train, banked.held_out, banked.queries)
    family = load_trained(banked.model(member), torch.device("cpu"), ["denoiser"])
    train, held_out, queries = (banked.gradients(family, part, method) for part in parts)
    scores, theirs = (np.einsum("qtv,ntv->qn", queries, part, optimize=True) for part in (train, held_out))
    ranks, had = rank_among(scores, theirs, banked.compared, banked.tested, fdr), banked.trained(member)
    rows = []
    for query, name in enumerate(banked.queries.ids):
        for half, inside in (("trained", had), ("left out", ~had)):
            images = banked.tested[query] & inside
            small = ranks.p_value[query, images] <= fdr
            rows.append(
                {
                    "method": method,
                    "member": member.name,
                    "query_id": name,
                    "half": half,
                    "small": float(small.mean()),
                    "found": int(ranks.found[query, images].sum()),
                    "images": int(images.sum()),
                }
            )
    return rows


def summarise(rows: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """Return a row per method and half: the share of p-values at most ``fdr``, and what is found in all."""
    found = []
    for (method, half), part in rows.groupby(["method", "half"], sort=False):
        # One observation per query, the mean over retrainings.
        shares = part.groupby("query_id")["small"].mean().to_numpy()
        low, high = rate_interval([shares], CONFIDENCE)
        facts = (
            part["member"].nunique(),
            part["query_id"].nunique(),
            int(part["found"].sum()),
            int(part["images"].sum()),
        )
        found.append((method, half, fdr, shares.mean(), low, high, *facts, hardware_label()))
    columns = ["method", "half", "level", "share", "low", "high", "members", "queries", "found", "images", "device"]
    return pd.DataFrame(found, columns=columns).round(4)


def render(table: pd.DataFrame) -> str:
    """Return the table in Markdown."""
    level = f"{table['level'].iloc[0]:g}"
    lines = [f"| method | images | p at most {level} | found at {level} | pairs |", "|---|---|---:|---:|---:|"]
    for row in table.to_dict("records"):
        share = f"{row['share']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        lines.append(f"| `{row['method']}` | {row['half']} | {share} | {row['found']} | {row['images']} |")
    first = table.iloc[0]
    told = f"Retrainings: {first['members']}. Queries: {first['queries']}. Pairs: a query, an image of its class."
    return "\n".join([*lines, "", told]) + "\n"


def main() -> None:
    """Measure, and write the table and its part of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of results with the finished run")
    parser.add_argument("--names", nargs=4, default=["noise_half", "digits_noise", "digits", "ddpm_mnist_16"])
    parser.add_argument("--members", type=int, default=8, help="retrainings, each of a set of its own")
    parser.add_argument("--fdr", type=float, default=0.1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    banked, rows, start = Banked(options.results, Names(*options.names)), list[dict[str, object]](), time.monotonic()
    for number in range(options.members):
        for method in METHODS:
            rows += measure(banked, Member(number, 0), method, options.fdr)
        table = summarise(pd.DataFrame(rows), options.fdr)
        table.to_csv(TABLE, index=False)
        write_part(PAGE, "retrained", render(table))
        log.info("%d retrainings, %.0f s", number + 1, time.monotonic() - start)


if __name__ == "__main__":
    main()
