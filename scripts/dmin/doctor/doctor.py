"""The examination of a config: every part of it, whatever another part is refused for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from dmin.data.buckets import Frame
from dmin.doctor.cost import examine_cost, this_machine
from dmin.doctor.data import Read, examine_source, first_pixels
from dmin.doctor.findings import Finding, Report
from dmin.doctor.gradients import examine_gradients
from dmin.doctor.weights import examine_adapter, open_model, too_large
from dmin.models.families.family import Family
from dmin.models.queries.images import as_source

# So few prompts are tokenised that it takes no time.
_MOST_PROMPTS = 500


class Entries(TypedDict):
    """What is examined.

    ``mistakes`` are sentences on the config itself; ``datasets`` and ``models`` map names to settings, a model's with
    its ``base``; ``images`` maps runs to their own images and their ``size`` and ``bucket_step``; ``runs`` lists those
    that can be examined: ``run``, ``model``, ``gradients`` and their ``plan``.
    """

    mistakes: list[str]
    datasets: dict[str, Any]
    images: dict[str, Any]
    models: dict[str, Any]
    runs: list[dict[str, Any]]


class Doctor:
    """Examines data sets, models and runs into a report."""

    def __init__(self, entries: Entries, shipped: Path, measured: Path) -> None:
        self.entries, self.shipped, self.measured = entries, shipped, measured
        self.report = Report()
        self._read: dict[str, Read] = {}

    def examine(self, results: Path) -> Report:
        """Examine all there is and return the report; what a check refuses is a fault in it."""
        for sentence in self.entries["mistakes"]:
            self.report.add("config", "settings", sentence, "fault")
        for name, dataset in self.entries["datasets"].items():
            self._read[name] = Read()
            for source in dataset["sources"]:
                self._source(f"datasets.{name}.sources '{source['name']}'", source, _frame(dataset), self._read[name])
        for name, images in self.entries["images"].items():
            self._source(f"runs.{name}.queries.images", as_source(images["source"]), _frame(images), Read())
        unsound: set[str] = set()
        for name, model in self.entries["models"].items():
            told = len(self.report.faults)
            with TemporaryDirectory() as folder:
                self._model(name, model, Path(folder))
            if len(self.report.faults) > told:
                unsound.add(name)
        machine = this_machine(results)
        for run in self.entries["runs"]:
            key = f"runs.{run['run']}"
            # What a model takes is counted on its network, which has to be one.
            if run["plan"]["model"] not in unsound and not self._told(run["plan"]["base"]["path"]):
                self.report.take(key, "cost", examine_cost, key, run["plan"], self.shipped, self.measured, machine)
        return self.report

    def _source(self, key: str, source: Mapping[str, Any], frame: Frame, read: Read) -> None:
        if not self._told(source["path"]):
            self.report.take(key, "images", examine_source, key, source, frame, read)

    def _model(self, name: str, model: Mapping[str, Any], folder: Path) -> None:
        key, own = f"models.{name}", model["weights"]
        if self._told(model["base"]["path"]) or (own and self._told(own["path"])):
            return
        reason = too_large(model)
        if reason:
            self.report.add(key, "weights", f"{reason}; gradients are not examined", "note")
            return
        bucketed = self.entries["datasets"][model["dataset"]]["bucket_step"] is not None
        if (
            own
            and model["finetune"] == "adapter"
            and not self.report.take(key, "adapter", examine_adapter, key, model, folder, bucketed)
        ):
            return
        loaded: list[Family] = []
        if self.report.take(key, "weights", _load, key, model, folder, loaded):
            self._runs(name, model, loaded[0])

    def _runs(self, name: str, model: Mapping[str, Any], family: Family) -> None:
        dataset = self.entries["datasets"][model["dataset"]]
        read = self._read[model["dataset"]]
        captions = read.captions[:_MOST_PROMPTS]
        long = family.long_prompts(captions) if captions else []
        if long:
            said = f"{len(long)} of {len(captions)} are longer than the text encoder takes, and cut"
            self.report.add(f"models.{name}", "captions", said, "note")
        pixels = first_pixels(read, dataset["size"], dataset["convert_profiles"])
        prompts = [*captions, "", ""][:2]
        for run in self.entries["runs"]:
            if run["model"] == name:
                key = f"runs.{run['run']}"
                self.report.take(key, "gradients", examine_gradients, key, family, run["gradients"], pixels, prompts)

    def _told(self, path: str) -> bool:
        """Return whether a sentence on the config has named a path already."""
        return any(f"'{path}'" in sentence for sentence in self.entries["mistakes"])


def doctor(entries: Entries, shipped: Path, measured: Path, out: Path) -> None:
    """Examine a config, print what was found and write it to ``out`` as JSON.

    Args:
        shipped: config files of known models, for the plan.
        measured: the benchmark's table of throughputs, for the plan.
    """
    report = Doctor(entries, shipped, measured).examine(out.parent.parent)
    report.write(out)
    sys.stdout.write(f"\n{report.text()}\n\n")
    sys.stdout.flush()


def _frame(settings: Mapping[str, Any]) -> Frame:
    return Frame(settings["size"], settings["bucket_step"])


def _load(key: str, model: Mapping[str, Any], folder: Path, loaded: list[Family]) -> Iterator[Finding]:
    family = open_model(model, folder)
    loaded.append(family)
    count = sum(value.numel() for value in family.denoiser.parameters())
    yield Finding(key, "weights", f"{family.name}, a denoiser of {count:,} values, adapters included")
