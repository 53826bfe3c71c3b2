# What the studies that remove training samples are made of: their removals, retrainings and files. No rules.

from pathlib import Path

# What a study compares its methods with: retraining on everything, and removals that no method chose.
CONTROLS = {"removal": ["none", "random"], "thickness": ["none", "random", "class_matched", "thickest"]}


def removals_of(run, study):
    return CONTROLS[study] + config["runs"][run][study]["methods"]


def removal_sets(run, study, removal):
    """How many sets of samples are removed, one at a time."""
    settings = config["runs"][run][study]
    if study == "thickness" or removal == "none":
        return 1
    return settings["draws"] if removal == "random" else settings["queries"]


def removal_spans(run, study, removal):
    """The ranges of retrainings that one job each runs."""
    settings = config["runs"][run][study]
    return shard_ranges(removal_sets(run, study, removal) * settings["seeds"], settings["per_job"])


def left_out(settings):
    """The (removal, number) of every set of a study that is excluded."""
    return [(Path(entry).parent.name, int(Path(entry).name)) for entry in settings["exclude"]]


def removal_bank(wildcards, *keys):
    """What a range of retrainings depends on of the study's settings."""
    settings = run_of(wildcards)[wildcards.study]
    start, stop = (int(number) // settings["seeds"] for number in wildcards.range.split("-"))
    numbers = [number for removal, number in left_out(settings) if removal == wildcards.removal]
    chosen = {key: settings[key] for key in ("seeds", *keys)}
    return canonical(chosen | {"exclude": [number for number in numbers if start <= number <= stop]})


def retraining_bank(wildcards):
    advice = f"add {wildcards.removal}/{{set}} to runs.{wildcards.run}.{wildcards.study}.exclude"
    return removal_bank(wildcards, "seed", "budget") | {"removes": True, "advice": advice}


def removal_scores(wildcards):
    """The scores that a removal is chosen by; none for a control."""
    if wildcards.removal in CONTROLS["thickness"]:
        return []
    return [f"{shown_folders(wildcards.run)[wildcards.removal]}/scores.npy"]


def score_descriptions(wildcards):
    return [path.replace(".npy", ".json") for path in removal_scores(wildcards)]


def removal_reference(wildcards):
    """What the first method removes, for a control that removes as many; none for others."""
    if wildcards.removal not in CONTROLS["thickness"] or wildcards.removal == "none":
        return []
    first = run_of(wildcards)["thickness"]["methods"][0]
    return [f"<results>/runs/{wildcards.run}/thickness/{first}/removed.parquet"]


def removal_k(run):
    """Samples that are removed for a query: by default a tenth of the training set."""
    k = config["runs"][run]["removal"]["k"]
    return max(1, train_count(config["runs"][run]) // 10) if k is None else k


def removal_settings(wildcards):
    settings = run_of(wildcards)["removal"]
    if wildcards.removal == "none":
        return {}
    keys = ("draws", "seed") if wildcards.removal == "random" else ("queries",)
    return canonical({key: settings[key] for key in keys} | {"k": removal_k(wildcards.run)})


def thickness_settings(wildcards):
    settings = run_of(wildcards)["thickness"]
    if wildcards.removal in CONTROLS["thickness"]:
        return {"seed": settings["seed"]}
    return {"top_k": settings["top_k"]}


def original_images(wildcards):
    """What is generated again: the queries, or all that they were selected from."""
    name = "queries" if wildcards.study == "removal" else "candidates"
    return f"<results>/runs/{wildcards.run}/queries/{name}.parquet"


def sampling_settings(wildcards):
    run = run_of(wildcards)
    asked = run["removal"]["queries"] if wildcards.study == "removal" else None
    return canonical({key: run["queries"][key] for key in ("steps", "guidance")} | {"queries": asked})


def regenerated(study):
    """The regenerated images of every removal of a study, as an input function."""
    return lambda w: [
        f"<results>/runs/{w.run}/{study}/{removal}/images/{span}.parquet"
        for removal in removals_of(w.run, study)
        for span in removal_spans(w.run, study, removal)
    ]


def removal_of_each(study):
    """The removal of each of those files, in their order."""
    return lambda w: [removal for removal in removals_of(w.run, study) for _ in removal_spans(w.run, study, removal)]


def removal_widths(study):
    """The width of the scores of each method of a study that has one."""
    return lambda w: canonical(
        {method: shown_width(w.run, method) for method in run_of(w)[study]["methods"] if method not in SAMPLE_METHODS}
    )


def intervals(wildcards):
    return {key: run_of(wildcards)["evaluation"][key] for key in ("bootstrap", "confidence", "seed")}


def studied(study):
    """The runs that have a study."""
    return [name for name, run in config["runs"].items() if study in run]
