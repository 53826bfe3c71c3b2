# What the check of all results needs to know about each file: its place, its config and what it was made from. No rules.

from types import SimpleNamespace


def in_results(path):
    """A path as the check takes it, relative to the results."""
    return path.removeprefix("<results>/")


def verified_files():
    """Every weights file, cache shard, sketch, index and score matrix of all runs, ancestors first."""
    entries = []
    for name, run in config["runs"].items():
        entries.append(verified_weights(name))
        if not config["models"][run["model"]]["weights"]:
            entries.append(verified_checkpoints(name))
        entries += [
            verified_shard(name, feature, split, shard)
            for split in ("train", "queries")
            for feature in verified_features(run, split)
            for shard in shards(name, feature, split)
        ]
        sketches = verified_sketches(run)
        entries += [verified_sketch(name, *sketch) for sketch in sketches]
        entries += [verified_index(name, path.split("/")[-3][1:]) for path in retrieved_tops(name)]
        entries += [verified_scores(name, top) for top in exact_tops(name)]
    return canonical(entries)


def verified(run, kind, files, settings, made_from):
    files = {role: in_results(path) for role, path in files.items()}
    return {"run": run, "kind": kind, "files": files, "config": settings, "made_from": made_from}


def verified_features(run, split):
    steps = checkpoint_steps(run) if set(run["influence"]["methods"]) & set(CHECKPOINT_METHODS) else []
    return features_of(run, split) + [f"checkpoint-{step}" for step in steps]


def verified_sketches(run):
    """The (feature, v, split) of every sketch that the methods of a run read."""
    read = {
        (feature_of(method, split), v, split)
        for method in gradient_methods(run)
        for split in ("train", "queries")
        for v in widths(run, method)
        if v != "full"
    }
    for split in ("train", "queries"):
        features = [feature for feature in verified_features(run, split) if feature.startswith("checkpoint-")]
        read |= {(feature, v, split) for feature in features for v in widths(run, CHECKPOINT_METHODS[0])}
    return sorted(read)


def verified_weights(name):
    wildcards = SimpleNamespace(run=name)
    model = model_of(wildcards)
    base = {"base": ["base", config["bases"][model["base"]]]}
    if model["weights"]:
        settings = {"finetune": model["finetune"], "own": model["weights"]}
        return verified(name, "weights", {"weights": weights_of(wildcards)}, settings, base)
    keys = ("finetune", "train") if model["finetune"] == "full" else ("finetune", "train", "lora")
    samples = in_results("<results>/encoded/{dataset}/{base}/train.safetensors".format(**model))
    return verified(
        name,
        "weights",
        {"weights": weights_of(wildcards)},
        {key: model[key] for key in keys},
        {"samples": ["file", samples], **base},
    )


def verified_checkpoints(name):
    run = config["runs"][name]
    folder = f"<results>/models/{run['model']}/checkpoints"
    return verified(name, "checkpoints", {"checkpoints": folder}, {"steps": checkpoint_steps(run)}, {})


def verified_shard(name, feature, split, path):
    wildcards = SimpleNamespace(run=name, feature=feature, split=split)
    model = model_of(wildcards)
    train = in_results("<results>/encoded/{dataset}/{base}/train.safetensors".format(**model))
    made_from = {
        "base": ["base", config["bases"][model["base"]]],
        "weights": ["weights", in_results(weights_of(wildcards))],
    }
    if feature == "lissa":
        queries = f"runs/{name}/queries/queries.safetensors"
        made_from |= {"samples": ["file", train], "queries": ["file", queries]}
        settings = {"gradients": lissa_gradients(wildcards), "lissa": lissa_settings(wildcards)}
        return verified(name, "shard", {"shard": path}, settings, made_from)
    made_from["samples"] = ["file", in_results(encoded_split(wildcards))]
    if feature.startswith("checkpoint-"):
        made_from["weights"] = [
            "checkpoint",
            [in_results(feature_weights(wildcards)), int(feature.removeprefix("checkpoint-"))],
        ]
    for role, files in (("trajectory", trajectory_of(wildcards)), ("replay", replayed_log(wildcards))):
        made_from |= {role: ["file", in_results(file)] for file in files}
    settings = {"gradients": gradient_settings(wildcards), "feature": feature_settings(wildcards)}
    return verified(name, "shard", {"shard": path}, settings, made_from)


def shards_of(name, feature, split):
    return ["shards", [in_results(path) for path in shards(name, feature, split)]]


def verified_sketch(name, feature, v, split):
    path = f"<results>/runs/{name}/sketch/{feature}/v{v}/{split}.npy"
    return verified(name, "sketch", {"sketch": path}, {"v": int(v)}, {"shards": shards_of(name, feature, split)})


def verified_index(name, v):
    hnsw = config["runs"][name]["influence"]["hnsw"]
    sketch = f"runs/{name}/sketch/loss/v{v}/train.npy"
    settings = {key: hnsw[key] for key in ("M", "ef_construction", "seed")}
    return verified(name, "index", {"index": index_of(name, v)}, settings, {"sketch": ["sha256", sketch]})


def rows_of(name, method, v, split):
    """What holds the gradients that a method reads at width v, for their digest."""
    run = config["runs"][name]
    if method in CHECKPOINT_METHODS:
        steps = checkpoint_steps(run)
        files = [f"runs/{name}/sketch/checkpoint-{step}/v{v}/{split}.npy" for step in steps]
        return ["list", [["sha256", file] for file in files]]
    feature = feature_of(method, split)
    if v == "full":
        return shards_of(name, feature, split)
    return ["sha256", f"runs/{name}/sketch/{feature}/v{v}/{split}.npy"]


def verified_scores(name, top):
    """The entry of the score matrix that a ranked list was made from."""
    run, parts = config["runs"][name], in_results(top).split("/")
    method = parts[3]
    folder = f"runs/{name}/influence/{method}"
    if method not in SAMPLE_METHODS:
        folder = f"{folder}/{parts[4]}"
    settings = {"method": method, "top_k": run["influence"]["top_k"]}
    if method in CHECKPOINT_METHODS:
        settings["train"] = config["models"][run["model"]]["train"]
    else:
        settings["options"] = run["influence"]["options"]
    if method in SAMPLE_METHODS:
        samples = f"datasets/{config['models'][run['model']]['dataset']}/train.parquet"
        made_from = {"train": ["file", samples], "queries": ["file", f"runs/{name}/queries/queries.parquet"]}
    else:
        made_from = {split: rows_of(name, method, parts[4][1:], split) for split in ("train", "queries")}
    return verified(name, "scores", {"scores": f"{folder}/scores.npy", "top": top}, settings, made_from)
