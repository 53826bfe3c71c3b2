"""Checks of what a run studies beside its scores: one clear sentence for the first mistake."""

from __future__ import annotations

from collections.abc import Mapping

from ..runtime.errors import UserError
from .banks import Bank, Lds
from .checks import refuse_own_weights
from .runs import Run
from .studies import ALL_CONTROLS, Study

# Sets of a bank without which there is no interval.
FEWEST_SETS = 8
# More than Snakemake plans in a bearable time.
MOST_MODELS = 100_000


def check_bank(bank: Bank) -> None:
    """Refuse a bank of more models than can be planned.

    Raises:
        UserError: it is of more.
    """
    models = bank.settings["subsets"] * bank.settings["seeds"]
    if models > MOST_MODELS:
        raise UserError(f"banks.{bank.name} trains {models} models; ask for at most {MOST_MODELS}.")


def check_lds(run: Run, lds: Lds) -> None:
    """Refuse a bank that a run cannot be measured with.

    Raises:
        UserError: it is of another model, of own weights, or too little of it is left.
    """
    bank = lds.bank
    if bank.model.name != run.model.name:
        raise UserError(
            f"runs.{run.name}.lds.bank is '{bank.name}', a bank of model {bank.model.name}, but the run asks about "
            f"model {run.model.name}; name a bank of that model."
        )
    refuse_own_weights(f"banks.{bank.name}", bank.model)
    sets = bank.settings["subsets"]
    left = sets - len([number for number in bank.settings["exclude"] if number < sets])
    if left < FEWEST_SETS:
        raise UserError(
            f"banks.{bank.name}.exclude leaves {left} of {sets} sets, too few for an interval; keep at least "
            f"{FEWEST_SETS}."
        )


def check_ablation(run: Run) -> None:
    """Refuse ablations at widths or list lengths that there are none of.

    Raises:
        UserError: a width does not divide cache_dim, or an ef is below top_k.
    """
    key, hnsw = f"runs.{run.name}.ablation", run.ablation.settings["hnsw"]
    cache_dim, top = run.gradients.settings["cache_dim"], run.influence.settings["top_k"]
    places = [("hnsw.v", hnsw["v"])]
    places += [("compression.widths", width) for width in run.ablation.settings["compression"]["widths"]]
    for place, width in places:
        if cache_dim % width:
            raise UserError(
                f"{key}.{place} has {width}, which does not divide gradients.cache_dim {cache_dim}; use a width that "
                "does."
            )
    if min(hnsw["ef"]) < top:
        raise UserError(
            f"{key}.hnsw.ef has {min(hnsw['ef'])}, below influence.top_k {top}; raise ef or lower influence.top_k."
        )


def check_seeds(run: Run, runs: Mapping[str, Run]) -> None:
    """Refuse to compare a run with others that differ in more than the seed of their models.

    Raises:
        UserError: a named run is unknown or itself, asks about other images or methods, or its model differs.
    """
    key = f"runs.{run.name}.ablation.seeds"
    for name in run.settings["ablation"]["seeds"] if "ablation" in run.settings else []:
        if name == run.name or name not in runs:
            raise UserError(f"{key} has '{name}', which is no other run of the config; correct or leave it out.")
        other = runs[name]
        if run.queries.settings["source"] not in ("held_out", "images"):
            raise UserError(
                f"{key} compares scores of the same images, but runs.{run.name}.queries.source is "
                f"{run.queries.settings['source']}, and each model generates its own; set it to held_out or images."
            )
        if run.queries.settings != other.queries.settings or run.settings["influence"] != other.settings["influence"]:
            raise UserError(f"{key} has '{name}', whose queries or influence differ from this run's; make them equal.")
        one, two = (
            {**each.model.settings, "train": {**each.model.settings["train"], "seed": 0}} for each in (run, other)
        )
        if one != two or run.settings["gradients"] != other.settings["gradients"]:
            raise UserError(
                f"{key} has '{name}', whose model or gradients differ in more than train.seed; make all else equal."
            )


def check_studies(run: Run) -> None:
    """Refuse studies of removal that cannot be.

    Raises:
        UserError: their methods, sizes or exclusions cannot be, or they need other queries.
    """
    for study in run.studies.values():
        models = sum(study.sets(removal) * study.settings["seeds"] for removal in study.removals)
        if models > MOST_MODELS:
            raise UserError(f"runs.{run.name}.{study.name} trains {models} models; ask for at most {MOST_MODELS}.")
        _check_study(run, study)
        if (asked := study.queries) and asked > run.queries.count:
            raise UserError(
                f"runs.{run.name}.{study.name}.queries is {asked}, but the run has {run.queries.count} queries; lower "
                "it."
            )
    if "thickness" in run.settings and not run.queries.settings["select"]:
        raise UserError(
            f"runs.{run.name}.thickness asks about the thickest generated digits, but runs.{run.name}.queries.select "
            "is null; set select."
        )


def check_consequence(run: Run) -> None:
    """Refuse to retrain without flagged images where that tells nothing.

    Raises:
        UserError: the model's own training is not known, no image is held out, or there are too many retrainings.
    """
    consequence = run.audit.consequence
    if consequence is None:
        return
    key = f"runs.{run.name}.audit.consequence"
    refuse_own_weights(key, run.model)
    if not run.gradients.count("test"):
        raise UserError(
            f"{key} measures the loss of held-out images, but data set {run.model.dataset.name} has no test set; set "
            f"datasets.{run.model.dataset.name}.train_fraction below 1 or test_sources, or leave the section out."
        )
    models = len(consequence.removals) * consequence.settings["seeds"]
    if models > MOST_MODELS:
        raise UserError(f"{key} trains {models} models; ask for at most {MOST_MODELS}.")


def _check_study(run: Run, study: Study) -> None:
    key, source = f"runs.{run.name}.{study.name}", run.queries.settings["source"]
    if source != "generated" and study.name != "deletion":
        raise UserError(
            f"{key} generates the queries again, but runs.{run.name}.queries.source is {source}, whose images have no "
            "noise that they came from; set the source to generated or leave the table out."
        )
    refuse_own_weights(key, run.model)
    for method in study.settings["methods"]:
        if method in ALL_CONTROLS:
            raise UserError(f"{key}.methods has {method}, which is always there as a control; leave it out.")
        if method not in run.influence.methods:
            raise UserError(
                f"{key}.methods has {method}, which runs.{run.name}.influence.methods lacks; add it there or leave it "
                "out here."
            )
    k, train = max(study.sizes), run.gradients.count("train")
    if k >= train:
        place = {"thickness": "top_k", "removal": "k", "deletion": "shares"}[study.name]
        raise UserError(
            f"{key}.{place} is {k}, but the training set has {train} samples, of which some must be left; lower it."
        )
    _check_exclusions(key, study)


def _check_exclusions(key: str, study: Study) -> None:
    for removal, number in study.left_out:
        if removal == "none":
            raise UserError(f"{key}.exclude has none/{number}, which everything is compared with; leave it in.")
        if removal not in study.removals or number >= study.sets(removal):
            raise UserError(
                f"{key}.exclude has {removal}/{number}, which the study does not have; correct or leave it out."
            )
    for removal in study.removals:
        if all((removal, number) in study.left_out for number in range(study.sets(removal))):
            raise UserError(
                f"{key}.exclude leaves no removal of {removal}; keep one, or leave the method out of methods."
            )
