"""Checks of data sets and models: one clear sentence for the first mistake."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ..folders.files import is_local
from ..folders.layout import check_repeats, find_layout
from ..folders.tables import TEXT_TABLES
from ..runtime.errors import UserError
from ..settings.models import Source
from .counted import require_rows
from .datasets import Dataset
from .files import exists, is_file, is_missing
from .models import Model

# Names that stand for something else in tables.
RESERVED = ("noise", "mean", "all")
# The names of ranges of rows have eight digits.
MOST_ROWS = 99_999_999
# What is left is what faults are told from.
MOST_PLANTED = 0.6
CORRECT_PATH = "correct it (it is relative to the working directory)"


def check_dataset(dataset: Dataset) -> None:
    """Refuse a data set that cannot be assembled.

    Raises:
        UserError: its sources, classes or split cannot be.
    """
    settings, place = dataset.settings, f"datasets.{dataset.name}"
    for source in settings["sources"]:
        name, key = source["name"], f"{place}.sources '{source['name']}'"
        if dataset.source_names.count(name) > 1:
            raise UserError(f"{place}.sources lists '{name}' twice; give each source a name of its own.")
        if name in RESERVED:
            raise UserError(f"{key}: this name is reserved; choose another.")
        check_images(key, source["path"])
        if source["sample"] == "random" and not is_local(source["path"]):
            raise UserError(f"{key}: sample is random, but a hub data set is read from the first row; set it to first.")
        if source["labels"] and source["label_column"] is None:
            raise UserError(f"{key}: labels is set, but label_column is null; name the column that holds the labels.")
        _check_repeats(key, source)
        if settings["classes"] and source["label_column"] is None:
            raise UserError(
                f"{key}: label_column is null, but the data set has classes; name the column that holds them."
            )
    for label in settings["classes"] or []:
        if label in RESERVED:
            raise UserError(f"{place}.classes has '{label}', which is reserved; choose another.")
    _check_test_sources(dataset)
    step = dataset.bucket_step
    if step and settings["size"] % step:
        raise UserError(
            f"{place}.bucket_step is {step}, which does not divide size {settings['size']}; take a step that does, 64 "
            "as in most trainers."
        )
    counts = dataset.counts
    if counts.total > MOST_ROWS:
        raise UserError(f"{place} has {counts.total} rows, noised copies included; take at most {MOST_ROWS}.")
    _check_plant(dataset)
    whole = settings["train_fraction"] == 1 and not settings["test_sources"]
    if counts.train < 1 or (counts.train == counts.total and not whole):
        raise UserError(
            f"{place}.train_fraction {settings['train_fraction']} leaves the training or the test set of "
            f"{counts.total} rows empty; change it or take more rows."
        )


def _check_repeats(key: str, source: Source) -> None:
    if source["repeats"] != "folders":
        return
    path, layout = source["path"], None
    if is_local(path):
        try:
            layout = find_layout(Path(path), source["split"])
        except (UserError, ValueError, OSError):
            # Told where its rows are counted, or when it is read.
            return
    try:
        check_repeats(layout)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def check_rows(dataset: Dataset) -> None:
    """Refuse to take more rows of a source than it has.

    Raises:
        UserError: a local source has fewer.
    """
    for source in dataset.settings["sources"]:
        require_rows(f"datasets.{dataset.name}.sources '{source['name']}'", source)


def _check_plant(dataset: Dataset) -> None:
    key, shares = f"datasets.{dataset.name}.plant", cast("dict[str, float]", dataset.settings.get("plant", {}))
    if not shares:
        return
    total = sum(shares.values())
    if total > MOST_PLANTED:
        raise UserError(
            f"{key} asks for faults in {total:.3g} of the rows; lower its shares to a sum of at most {MOST_PLANTED}."
        )
    for name in ("swapped_captions", "flipped_labels", "foreign"):
        if shares[name] and len(dataset.subsets) < 2:
            raise UserError(f"{key}.{name} is set, but the data set has one subset; leave it out or add a source.")
    if shares["foreign"] and dataset.counts.test == 0:
        raise UserError(f"{key}.foreign takes images of the test set, which is empty; lower train_fraction below 1.")


def _check_test_sources(dataset: Dataset) -> None:
    testing, key = dataset.settings["test_sources"], f"datasets.{dataset.name}.test_sources"
    if unknown := [name for name in testing if name not in dataset.source_names]:
        raise UserError(f"{key} has '{unknown[0]}', which the data set's sources lack; correct or leave it out.")
    if testing and not dataset.settings["classes"]:
        raise UserError(f"{key} is set, but the data set has no classes, so each source is a subset; list its classes.")
    if testing and len(testing) == len(dataset.source_names):
        raise UserError(f"{key} lists every source, which leaves nothing to train on; leave one out.")


def check_model(model: Model, processes: int) -> None:
    """Refuse a model that cannot be trained or imported.

    Args:
        processes: those that share a training.

    Raises:
        UserError: its training, its fine-tuning or its own weights cannot be.
    """
    place, train, own = f"models.{model.name}", model.settings["train"], model.settings["weights"]
    late = [step for step in train["checkpoints"] if step > train["steps"]]
    if late:
        raise UserError(
            f"{place}.train.checkpoints has {late[0]}, above steps {train['steps']}; name steps of the training."
        )
    if model.settings["finetune"] == "adapter" and not model.base.family.adapter:
        raise UserError(
            f"{place}.finetune is adapter, which the family {model.base.family.name} does not take; set it to full."
        )
    dataset = model.dataset
    if dataset.bucket_step and not model.base.family.shapes:
        raise UserError(
            f"datasets.{dataset.name}.bucket_step is set, but the family {model.base.family.name} of model "
            f"{model.name} takes square images alone; set it to null."
        )
    if train.get("flip") and model.base.family.conditional:
        raise UserError(
            f"{place}.train.flip mirrors pixels, but the family {model.base.family.name} trains on an autoencoder's "
            "latents; set it to false."
        )
    if train["accumulation"] > train["batch_size"]:
        raise UserError(
            f"{place}.train.accumulation is {train['accumulation']}, above batch_size {train['batch_size']}; lower it."
        )
    rows = train["batch_size"] // train["accumulation"]
    if not own and processes > rows:
        raise UserError(
            f"compute.train_processes is {processes}, above batch_size / accumulation of {place}.train, which is "
            f"{rows}; lower it."
        )
    if own and is_missing(own["path"]):
        raise UserError(f"{place}.weights.path is '{own['path']}', which does not exist; {CORRECT_PATH}.")
    if model.settings["finetune"] == "full" and model.base.settings["precision"] != "float32":
        raise UserError(
            f"{place}.finetune is full, which trains every weight, and bases.{model.base.name}.precision keeps them in "
            f"{model.base.settings['precision']}; set it to float32, or finetune to adapter."
        )
    if own and model.settings["finetune"] == "full" and own["alpha"] is not None:
        raise UserError(f"{place}.weights.alpha is for an adapter, but finetune is full; leave it out.")


def check_images(key: str, path: str) -> None:
    """Refuse a path of images that leads to nothing, or to what holds none.

    Raises:
        UserError: the sentence begins with ``key``.
    """
    if is_missing(path):
        raise UserError(f"{key}: path '{path}' does not exist; {CORRECT_PATH}.")
    if not exists(path) or Path(path).is_dir():
        return
    if not is_file(path) or Path(path).suffix not in (".parquet", *TEXT_TABLES):
        raise UserError(
            f"{key}: path '{path}' is no parquet file; set it to a .parquet file, a table that names images "
            f"({', '.join(TEXT_TABLES)}) or a folder."
        )


def refuse_own_weights(key: str, model: Model) -> None:
    """Refuse to retrain a model of which only the weights are known.

    Raises:
        UserError: they are the user's own.
    """
    if model.settings["weights"]:
        raise UserError(
            f"{key} trains model {model.name} again, but models.{model.name}.weights were trained elsewhere; leave "
            f"{key} out, or set weights to null and train to how it was trained."
        )
