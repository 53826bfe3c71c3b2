"""Checks of a run's settings: one clear sentence for the first mistake."""

from __future__ import annotations

import math
import re
from pathlib import Path

from ..catalogue.families import FAMILIES
from ..catalogue.methods import JOURNEY_CACHE, METHODS, read_cache
from ..folders.files import is_local
from ..runtime.attributed import ADAPTER, WITH_TEXT, check_width, require_text
from ..runtime.errors import UserError
from ..settings.timesteps import grid_timesteps
from .checks import CORRECT_PATH
from .files import is_missing
from .gradients import SPLITS
from .query_checks import check_own_rows, check_queries
from .region_checks import check_maps, check_regions
from .runs import Run
from .study_checks import check_ablation, check_consequence, check_lds, check_studies

# More than Snakemake plans in a bearable time.
MOST_SHARDS = 100_000


def check_parameters(run: Run) -> None:
    """Refuse a choice of parameters that is no pattern, or that the model lacks as far as config and files tell.

    Raises:
        UserError: it is such a choice.
    """
    key, selection = f"runs.{run.name}.gradients.parameters", run.gradients.settings["parameters"]
    if selection in (ADAPTER, WITH_TEXT) and run.model.settings["finetune"] == "full":
        raise UserError(
            f"{key} is {selection}, but models.{run.model.name} is fine-tuned in full; set it to all or "
            "transformer_blocks."
        )
    # What is trained here changes the denoiser alone.
    require_text(f"runs.{run.name}.gradients", selection, run.model.text_values, run.model.name)
    if selection.startswith("regex:"):
        try:
            re.compile(selection.removeprefix("regex:"))
        except (re.error, RecursionError, OverflowError) as error:
            raise UserError(f"{key} is '{selection}', which is no regular expression ({error}); correct it.") from None
    if run.attributed == 0:
        model = run.model
        trained = model.settings["finetune"] == "adapter" and not model.settings["weights"]
        targets = f"models.{model.name}.lora.targets and " if trained else ""
        raise UserError(
            f"{key} is '{selection}', which matches no parameter of model {model.name}; correct {targets}the choice."
        )


def _check_significance(run: Run) -> None:
    if run.held_out.used and not run.gradients.count("test"):
        raise UserError(
            f"runs.{run.name}.influence.significance.held_out is true, but datasets.{run.model.dataset.name} has no "
            "test set to rank scores among; set it to false, or set train_fraction or test_sources of the data set."
        )


def _check_optional(run: Run) -> None:
    if run.lds is not None:
        check_lds(run, run.lds)
    if "ablation" in run.settings:
        check_ablation(run)
    if "audit" in run.settings:
        check_consequence(run)
    check_studies(run)


def _check_checkpoints(run: Run) -> None:
    if not run.influence.checkpoint_methods:
        return
    key, model, steps = f"runs.{run.name}.influence.methods", run.model, run.model.checkpoint_steps
    method = run.influence.checkpoint_methods[0]
    if model.settings["weights"]:
        raise UserError(
            f"{key} has {method}, which needs checkpoints and the log of the training, but model {model.name} has "
            "weights of its own; leave the method out, or have the model trained here (weights: null)."
        )
    if not steps:
        raise UserError(
            f"{key} has {method}, which needs checkpoints, and model {model.name} keeps none; list steps in "
            f"models.{model.name}.train.checkpoints."
        )
    rows = _least_entries(run)
    # Of buckets, steps are drawn in proportion to their samples.
    epoch = rows if model.dataset.bucket_step else math.ceil(rows / model.settings["train"]["batch_size"])
    if steps[0] < epoch:
        raise UserError(
            f"models.{model.name}.train.checkpoints has {steps[0]}, but the first epoch, in which every sample is seen "
            f"once, takes {epoch} steps; name steps from {epoch} on."
        )


def _least_entries(run: Run) -> int:
    """Return how many entries an epoch of training has at the least: samples, each as often as its source repeats it.

    Which samples train is drawn, and of folders that are named for their repeats only the data tell.
    """
    dataset, left = run.model.dataset, run.gradients.count("train")
    testing = dataset.settings["test_sources"]
    told = [source for source in dataset.settings["sources"] if source["name"] not in testing]
    times = [source["repeats"] if isinstance(source["repeats"], int) else 1 for source in told]
    known = sorted(zip(times, (dataset.rows[source["name"]] for source in told), strict=True))
    entries = 0
    for repeats, rows in [(1, dataset.counts.copies), *known]:
        entries += repeats * min(rows, left)
        left -= min(rows, left)
    return entries


def _check_jobs(run: Run) -> None:
    """Refuse a run of more jobs than can be planned."""
    key, gradients = f"runs.{run.name}", run.gradients
    caches = {split: len(run.influence.all_caches(split)) for split in SPLITS}
    shards = sum(
        caches[split] * math.ceil(gradients.count(split) / gradients.settings["shard_size"]) for split in SPLITS
    )
    if shards > MOST_SHARDS:
        raise UserError(
            f"{key}.gradients.shard_size is {gradients.settings['shard_size']}, which cuts the caches into {shards} "
            f"shards; raise it until they are at most {MOST_SHARDS}."
        )


def _check_widths(run: Run) -> None:
    cache_dim = run.gradients.settings["cache_dim"]
    check_width(f"runs.{run.name}.gradients", cache_dim, run.attributed, run.model.name)
    for width in run.influence.settings["widths"]:
        if cache_dim % width:
            raise UserError(
                f"runs.{run.name}.influence.widths has {width}, which does not divide gradients.cache_dim {cache_dim}; "
                "use widths that do."
            )


def _check_lists(run: Run) -> None:
    key, train = f"runs.{run.name}", run.gradients.count("train")
    top, ef = run.influence.settings["top_k"], run.influence.settings["hnsw"]["ef"]
    if top > train:
        raise UserError(f"{key}.influence.top_k is {top}, but the training set has {train} samples; lower it.")
    if ef < top:
        raise UserError(f"{key}.influence.hnsw.ef is {ef}, below top_k {top}; raise ef or lower top_k.")
    indexed = run.influence.settings["hnsw"]["method"]
    if indexed not in ("auto", *run.influence.methods):
        raise UserError(
            f"{key}.influence.hnsw.method is {indexed}, which influence.methods lacks; add it there or set it to auto."
        )
    rank, values = run.influence.settings["cascade"]["rank"], _narrowest(run)
    if "cascade" in run.influence.backends and rank > min(train, values) > 0:
        raise UserError(
            f"{key}.influence.cascade.rank is {rank}, above the {train} training samples or the {values} values that "
            "the narrowest width holds of each; lower it."
        )
    deepest = max(run.evaluation["k"])
    if deepest > top:
        raise UserError(f"{key}.evaluation.k has {deepest}, above influence.top_k {top}; raise top_k.")
    if run.influence.settings["uncompressed"] and not run.gradients.settings["keep_raw"]:
        raise UserError(
            f"{key}.influence.uncompressed needs the uncompressed gradients; set gradients.keep_raw to true."
        )


def _narrowest(run: Run) -> int:
    """Return the values that the narrowest sketches hold of a sample."""
    return run.gradients.timestep_count * min(run.influence.settings["widths"])


def _check_methods(run: Run) -> None:
    key, queries, options = f"runs.{run.name}.influence", run.queries.settings, run.gradients.options
    for method in run.influence.gradient_methods:
        if read_cache(method, "queries") != JOURNEY_CACHE:
            continue
        if queries["source"] in ("held_out", "images"):
            raise UserError(
                f"{key}.methods has {method}, which needs the trajectory of a generated image, but queries.source is "
                f"{queries['source']}; leave the method out or set the source to generated or prompts."
            )
        if options["journey_steps"] > queries["steps"]:
            raise UserError(
                f"{key}.options.journey_steps is {options['journey_steps']}, above queries.steps {queries['steps']}; "
                "lower it."
            )
    for method in run.influence.methods:
        whole = [method, *METHODS[method].parts]
        if run.model.dataset.bucket_step and any(METHODS[name].one_shape for name in whole):
            raise UserError(
                f"{key}.methods has {method}, which takes images of one shape, but datasets.{run.model.dataset.name}."
                "bucket_step is set; leave the method out or set bucket_step to null."
            )
    encoder = options["encoder"]
    encoded = any("encoder" in METHODS[method].options for method in run.influence.methods)
    if encoded and (is_missing(encoder) or (is_local(encoder) and not Path(encoder).is_dir())):
        raise UserError(
            f"{key}.options.encoder is '{encoder}', which is no folder; {CORRECT_PATH} or set it to efficientnet."
        )
    for method in run.influence.methods:
        if METHODS[method].learns and queries["per_subset"] < 2:
            raise UserError(
                f"{key}.methods has {method}, which learns from one half of the queries for the other; set "
                "queries.per_subset to 2 or more."
            )


def _check_gradients(run: Run) -> None:
    key, settings, family = f"runs.{run.name}.gradients", run.gradients.settings, run.model.base.family
    objective = settings["objective"]
    if objective not in family.objectives:
        having = [name for name, entry in FAMILIES.items() if objective in entry.objectives]
        raise UserError(
            f"{key}.objective is {objective}, which only {' and '.join(having)} has; set it to {family.objectives[0]}."
        )
    if objective != "training" and "lissa" in run.influence.methods:
        raise UserError(
            f"{key}.objective is {objective}, but runs.{run.name}.influence.methods has lissa, whose products are of "
            "the training loss; set it to training or leave the method out."
        )
    train, caches = run.gradients.count("train"), {*run.influence.caches("train"), *run.influence.caches("queries")}
    pilots = {
        "scale": (run.gradients.pilot, run.gradients.scale),
        "curvature": (run.gradients.curvature_pilot, run.gradients.curvature),
    }
    for section, (pilot, files) in pilots.items():
        if pilot > train and any(map(files, caches)):
            raise UserError(f"{key}.{section}.pilot is {pilot}, but the training set has {train} samples; lower it.")
    timesteps = settings["timesteps"]
    if timesteps["grid"] == "custom" and not timesteps["custom"]:
        raise UserError(f"{key}.timesteps.custom is empty; list the timesteps that grid custom stands for.")
    steps = grid_timesteps(timesteps, family.pndm)
    if len(set(steps)) < len(steps):
        raise UserError(
            f"{key}.timesteps.count is {timesteps['count']}, at which the grid {timesteps['grid']} repeats a timestep; "
            "lower it or use the grid uniform."
        )


# Each refuses a run that cannot be, by its first mistake of a kind.
RUN_CHECKS = (
    _check_significance,
    _check_checkpoints,
    _check_widths,
    check_queries,
    check_own_rows,
    check_regions,
    _check_jobs,
    _check_lists,
    _check_methods,
    _check_gradients,
    check_maps,
    _check_optional,
)
