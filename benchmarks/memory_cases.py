"""The jobs of the default target on synthetic images, each as a call of the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from memory_inputs import QUERIES, SUBSETS, WIDTH, Inputs

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.data.samples import read_samples
from dmin.evaluation.detection import RankedList
from dmin.runtime.pace import Pace

BATCH, DPI, TOP = 8, 60, 50
# Ranks of each query that the explorer shows.
SHOWN = 20
EVALUATION: Any = {"k": [5, TOP], "bootstrap": 200, "confidence": 0.95, "seed": 0}
Step = Callable[[], object]


def fetch(inputs: Inputs) -> Step:
    from dmin.data.source import fetch_source

    config: Any = {
        "name": "s", "path": str(inputs.source), "split": "train", "revision": None, "rows": None, "labels": None,
        "sample": "first", "repeats": None, "trigger": None, "on_empty_caption": "error",
        "image_column": "image", "caption_column": "prompt", "label_column": "label", "origin_column": "origin",
        "on_unreadable": "error",
    }  # fmt: skip
    return lambda: fetch_source("s", config, inputs.fetched)


def assemble(inputs: Inputs) -> Step:
    from dmin.data.assembly import AssembledFiles, assemble_dataset

    noise = {"fraction": 0.1, "std": 0.1}
    config: Any = {
        "size": inputs.side,
        "seed": 0,
        "train_fraction": 0.9,
        "test_sources": [],
        "noise": noise,
        "classes": SUBSETS,
        "convert_profiles": False,
    }
    others = (inputs.folder / name for name in ("dataset.json", "duplicates.csv"))
    files = AssembledFiles(inputs.train, inputs.test, *others)
    return lambda: assemble_dataset({"s": inputs.fetched}, config, files)


class Encoders:
    """Stand in for the encoders of Stable Diffusion: tensors of their sizes, without their time and their memory."""

    def __init__(self, prompt: tuple[int, int]) -> None:
        self._prompt = prompt

    def long_prompts(self, texts: Sequence[str]) -> list[int]:
        return []

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(images, 8)
        return torch.cat([small, small[:, :1]], 1)

    def encode_prompts(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"prompt_embeds": torch.randn(len(texts), *self._prompt)}

    def encode_nothing(self) -> dict[str, torch.Tensor]:
        return self.encode_prompts([""])

    def adapted_text(self) -> dict[str, Any]:
        return {}


def encode(inputs: Inputs) -> Step:
    from dmin.models import encoding

    setattr(encoding, "load_family", lambda *_: Encoders(inputs.prompt))  # noqa: B010
    base: Any = {"family": "stable_diffusion", "path": "", "revision": None}
    return lambda: encoding.encode_samples(inputs.train, base, inputs.encoded, Pace("cpu", BATCH))


def training_batches(inputs: Inputs) -> Step:
    from dmin.models.encoded import EncodedSamples
    from dmin.models.training.batch import batch_indices

    def draw() -> None:
        encoded = EncodedSamples.load(inputs.encoded)
        for step in range(len(encoded.ids) // BATCH):
            index = batch_indices(len(encoded.ids), BATCH, step, 0)
            torch.stack([encoded.latents[index].sum(), encoded.conditioning["prompt_embeds"][index].sum()])

    return draw


def prompts(inputs: Inputs) -> Step:
    from dmin.models.queries.generate import choose_prompts

    return lambda: choose_prompts(read_samples(inputs.test, ["id", "subset", "prompt"]), SUBSETS, QUERIES, 0)


def held_out(inputs: Inputs) -> Step:
    from dmin.models.queries.held_out import take_queries

    return lambda: take_queries(inputs.test, SUBSETS, 5, 0, inputs.folder / "held_out.parquet")


def compress(inputs: Inputs) -> Step:
    from dmin.gradients.compress import compress as fold

    def run() -> None:
        for split in ("train", "queries"):
            out = inputs.sketch(split)
            fold(inputs.shards(split), WIDTH, out, out.with_suffix(".json"), out.with_suffix(".metrics.json"))

    return run


def score_gradients(inputs: Inputs) -> Step:
    from dmin.attribution.score import score

    queries, train = (GradientFiles(inputs.shards(split), inputs.sketch(split)) for split in ("queries", "train"))
    sides, none = GradientSides(queries, train), dict[str, Any]()
    lists: Any = {"top_k": TOP, "fdr": 0.1, "confidence": 0.95, "subsets_known": True, "own_images": False}
    return lambda: score("dmin", sides, inputs.tables, none, lists, inputs.scores("dmin"))  # type: ignore[arg-type]


def score_images(method: str) -> Callable[[Inputs], Step]:
    """Return the case that scores by a method without gradients."""

    def case(inputs: Inputs) -> Step:
        from dmin.attribution.registry import find_method
        from dmin.attribution.score_samples import score_samples

        find_method(method)
        options: Any = {"seed": 0, "encoder": "efficientnet", "revision": None}
        files, tables = inputs.scores(method), inputs.one_query if method == "ssim" else inputs.tables
        return lambda: score_samples(method, tables, options, Pace("cpu", BATCH), TOP, files)

    return case


def index(inputs: Inputs) -> Step:
    from dmin.retrieval.hnsw import Construction, IndexFiles, build_index

    path = inputs.folder / "index.hnsw"
    files = IndexFiles(path, path.with_suffix(".json"), path.with_suffix(".metrics.json"))
    return lambda: build_index(inputs.sketch("train"), Construction(16, 50, 0), files)


def retrieve(inputs: Inputs) -> Step:
    from dmin.retrieval.hnsw import retrieve as search

    out = inputs.folder / "hnsw.parquet"
    files = inputs.folder / "index.hnsw", inputs.sketch("queries")
    return lambda: search(*files, inputs.tables, {"ef": 200, "top_k": TOP}, out, out.with_suffix(".metrics.json"))


def detection(inputs: Inputs) -> Step:
    from dmin.evaluation.detection import evaluate_detection

    lists = [RankedList.at(top) for top in inputs.tops.values()]
    return lambda: evaluate_detection(lists, inputs.train, EVALUATION, inputs.folder / "detection.csv")


def hubness(inputs: Inputs) -> Step:
    from dmin.evaluation.hubness import evaluate_hubness

    lists = [RankedList.at(top) for top in inputs.tops.values()]
    return lambda: evaluate_hubness(lists, inputs.train, EVALUATION, inputs.folder / "hubness.csv")


def norms(inputs: Inputs) -> Step:
    from dmin.evaluation.norms import evaluate_norms

    shards = [*inputs.shards("train"), *inputs.shards("queries")]
    return lambda: evaluate_norms(shards, [inputs.train, inputs.queries], inputs.norms)


def generation(inputs: Inputs) -> Step:
    from dmin.evaluation.generation import evaluate_generation

    return lambda: evaluate_generation(inputs.train, inputs.queries, inputs.folder / "generation.csv", BATCH)


def agreement(inputs: Inputs) -> Step:
    from dmin.evaluation.agreement import evaluate_agreement

    scores = {method: inputs.scores(method).scores for method in ("dmin", "random")}
    return lambda: evaluate_agreement(scores, TOP, EVALUATION, inputs.folder / "agreement.csv")


def plot_norms(inputs: Inputs) -> Step:
    from dmin.figures.draw import draw_table
    from dmin.figures.norms import plot_gradient_norms

    return lambda: draw_table(plot_gradient_norms, str(inputs.norms), [str(inputs.folder / "norms.png")], DPI)


def plot_scores(inputs: Inputs) -> Step:
    from dmin.figures.ranked import MethodScores, draw_score_distributions

    scores = MethodScores(inputs.scores("dmin").scores, "dmin", str(WIDTH))
    return lambda: draw_score_distributions(scores, inputs.tables, True, [inputs.folder / "scores.png"], DPI)


def plot_gallery(inputs: Inputs) -> Step:
    from dmin.figures.ranked import MethodScores, draw_gallery

    scores, gallery = MethodScores(inputs.scores("dmin").scores, "dmin", str(WIDTH)), {"queries": 4, "most": 6}
    outputs, shown = [inputs.folder / "gallery.png"], {**gallery, "least": 4}
    return lambda: draw_gallery(scores, inputs.tables, "a", shown, outputs, DPI)  # type: ignore[arg-type]


def plot_methods(inputs: Inputs) -> Step:
    from dmin.figures.ranked import draw_method_gallery

    return lambda: draw_method_gallery(inputs.tops, inputs.tables, "a", 6, [inputs.folder / "methods.png"], DPI)


def explorer(inputs: Inputs) -> Step:
    from dmin.figures.explorer import write_explorer
    from dmin.figures.explorer_data import About, Tables
    from dmin.figures.explorer_rankings import Ranked

    def run() -> None:
        rankings = {label: Ranked(pd.read_parquet(top)) for label, top in inputs.tops.items()}
        page, tables = inputs.folder / "explorer.html", Tables(inputs.queries, inputs.train)
        write_explorer(page, tables, rankings, About("synthetic", {}, SHOWN))

    return run


def verify(inputs: Inputs) -> Step:
    from dmin.verify.verify import Entry, check_files

    scores = inputs.scores("dmin")
    files = {
        "dataset": {"summary": inputs.folder / "dataset.json", "train": inputs.train, "test": inputs.test},
        "sketch": {"sketch": inputs.sketch("train")},
        "scores": {"scores": scores.scores, "top": scores.top},
    }
    kinds = [*files.items()]
    kinds += [("shard", {"shard": shard}) for split in ("train", "queries") for shard in inputs.shards(split)]
    # Their configs are those of no run, so that every file is read whole and then called stale.
    entries = [
        Entry(run="s", kind=kind, files={role: str(path) for role, path in named.items()}, config={}, made_from={})
        for kind, named in kinds
    ]
    return lambda: check_files(entries, {}, inputs.folder, inputs.folder / "verify.csv")


# By the rule, in the order of the workflow. Those of methods that are not scored by default come after the others.
CASES: dict[str, Callable[[Inputs], Step]] = {
    "fetch_source": fetch,
    "assemble_dataset": assemble,
    "encode_samples": encode,
    "train_model: its batches": training_batches,
    "generate_queries: its prompts": prompts,
    "take_queries": held_out,
    "compress": compress,
    "score dmin": score_gradients,
    "score_samples random": score_images("random"),
    "score_samples text": score_images("text"),
    "score_samples pixels": score_images("pixels"),
    "build_index": index,
    "retrieve": retrieve,
    "evaluate_detection": detection,
    "evaluate_hubness": hubness,
    "evaluate_norms": norms,
    "evaluate_generation": generation,
    "evaluate_agreement": agreement,
    "plot_norms": plot_norms,
    "plot_scores": plot_scores,
    "plot_gallery": plot_gallery,
    "plot_methods": plot_methods,
    "explorer": explorer,
    "score_samples clip": score_images("clip"),
    "score_samples ssim": score_images("ssim"),
}
# They take longest: measured on sizes up to this one alone, SSIM for one query.
SLOW = {"evaluate_generation": 1000, "score_samples clip": 1000, "score_samples ssim": 1000}
