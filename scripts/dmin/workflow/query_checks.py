"""Checks of the images that a run asks about: one clear sentence for the first mistake."""

from __future__ import annotations

from pathlib import Path

from ..catalogue.methods import METHODS
from ..runtime.errors import UserError
from .checks import CORRECT_PATH, check_images
from .counted import require_rows
from .files import exists, is_file, is_missing
from .runs import Run


def check_queries(run: Run) -> None:
    """Refuse queries that cannot be, and what a run cannot have of its queries.

    Raises:
        UserError: their source, their classifier or their selection cannot be.
    """
    _check_source(run)
    if not run.queries.subsets_known:
        _check_own(run)
    if run.queries.settings["source"] == "generated":
        _check_classifier(run)
    _check_selection(run)


def check_own_rows(run: Run) -> None:
    """Refuse to take more of a user's own images than there are.

    Raises:
        UserError: there are fewer.
    """
    if images := run.queries.settings["images"]:
        require_rows(f"runs.{run.name}.queries.images", images)


def _check_source(run: Run) -> None:
    key, queries, source = f"runs.{run.name}.queries", run.queries.settings, run.queries.settings["source"]
    for name, given in (("prompts", queries["prompts"]), ("images", queries["images"])):
        if given and source != name:
            raise UserError(f"{key} has {name}, but the source is {source}; set source to {name}, or leave {name} out.")
    dataset = run.model.dataset
    if run.queries.subsets_known and not dataset.counts.test:
        raise UserError(
            f"{key}.source is {source}, which takes from the test set, but datasets.{dataset.name}.train_fraction is 1 "
            "and leaves none; set the source to prompts or images, or train_fraction below 1."
        )


def _check_own(run: Run) -> None:
    """Check queries that are a user's own prompts or images."""
    key, queries, source = f"runs.{run.name}", run.queries.settings, run.queries.settings["source"]
    images, prompts = queries["images"], queries["prompts"]
    if not (images if source == "images" else prompts):
        raise UserError(
            f"{key}.queries.source is {source}, but {key}.queries.{source} is not set; say which {source} are asked "
            "about."
        )
    path = images["path"] if images else prompts
    if isinstance(path, str) and (not exists(path) if source == "prompts" else is_missing(path)):
        raise UserError(f"{key}.queries.{source} names '{path}', which does not exist; {CORRECT_PATH}.")
    if images:
        check_images(f"{key}.queries.images", images["path"])
        if is_file(images["path"]) and images["split"] != "train":
            raise UserError(
                f"{key}.queries.images.split is '{images['split']}', but path '{images['path']}' is one file, which "
                "has none; leave split out."
            )
    if source == "prompts" and not run.model.base.family.conditional:
        raise UserError(
            f"{key}.queries.source is prompts, but model {run.model.name} is unconditional; set the source to "
            "generated."
        )
    if source == "prompts":
        _check_prompts(run)
    needing = [f"influence.methods with {method}" for method in run.influence.methods if METHODS[method].learns]
    needing += [name for name in ("ablation", "lds") if name in run.settings]
    if needing:
        raise UserError(
            f"{key} has {needing[0]}, which needs the subset of each query, but queries.source is {source}; leave it "
            "out, or set the source to generated or held_out."
        )


def _check_prompts(run: Run) -> None:
    key = f"runs.{run.name}.queries.prompts"
    try:
        prompts = run.queries.prompts
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    if not prompts:
        raise UserError(f"{key} has no prompt; give at least one.")


def _check_classifier(run: Run) -> None:
    key, dataset, model = f"runs.{run.name}.queries.classifier", run.model.dataset, run.model
    classes, classifier = dataset.settings["classes"], run.queries.settings["classifier"]
    if classes and not classifier and not model.base.family.conditional:
        raise UserError(
            f"{key} is null, but model {model.name} is unconditional and data set {dataset.name} has classes, which "
            "nothing else tells of a generated image; name a classifier."
        )
    if not classifier:
        return
    if not classes:
        raise UserError(
            f"{key} is set, but data set {dataset.name} has no classes; list them in datasets.{dataset.name}.classes "
            "or set the classifier to null."
        )
    for file in (str(Path(classifier["path"])), run.queries.classifier_description):
        if not is_file(file):
            raise UserError(
                f"{key}.path is '{classifier['path']}', but the file '{file}' does not exist; {CORRECT_PATH}."
            )


def _check_selection(run: Run) -> None:
    key, queries = f"runs.{run.name}.queries", run.queries.settings
    select = queries["select"]
    if not select:
        return
    if queries["source"] != "generated" or not queries["classifier"]:
        raise UserError(
            f"{key}.select takes generated images that a classifier tells; set {key}.source to generated and name a "
            "classifier, or set select to null."
        )
    if select["keep"] > select["of"]:
        raise UserError(f"{key}.select.keep is {select['keep']}, above of {select['of']}; lower it.")
