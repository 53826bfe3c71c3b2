# What the plan needs to know about a run. No rules.


def planned_jobs(name):
    """How many jobs make the ranked lists of a run from nothing."""
    run, splits = config["runs"][name], ("train", "queries")
    # Per source a fetch; assembly, encoding, training and generation; per width of dmin an index and a retrieval.
    jobs = len(dataset_of(run)["sources"]) + 4 + len(exact_tops(name)) + 2 * len(retrieved_tops(name))
    sketches = {
        (feature_of(method, split), v, split)
        for method in gradient_methods(run)
        for split in splits
        for v in widths(run, method)
        if v != "full"
    }
    if sketches:
        jobs += 1 + planned_gradient_jobs(name) + len(sketches)
    return jobs + ("journey_trak" in run["influence"]["methods"]) + (query_kind(run) in ("classified", "selected"))


def planned_gradient_jobs(name):
    run = config["runs"][name]
    return sum(
        len(shards(name, feature, split)) for split in ("train", "queries") for feature in features_of(run, split)
    )


def planned_run(name):
    """What the plan needs to know about a run, and nothing that must be made first."""
    run = config["runs"][name]
    model = config["models"][run["model"]]
    return canonical(
        {
            "run": name,
            "dataset": model["dataset"],
            "model": run["model"],
            "base_name": model["base"],
            "base": config["bases"][model["base"]],
            "lora": model["lora"] if model["finetune"] == "adapter" else None,
            "size": dataset_of(run)["size"],
            "samples": train_count(run),
            "queries": query_count(run),
            "gradients": run["gradients"],
            "widths": widths(run, "dmin"),
            "links": run["influence"]["hnsw"]["M"],
            "batch": config["compute"]["gradient_batch"],
            "gradient_jobs": planned_gradient_jobs(name),
            "jobs": planned_jobs(name),
            "throughput": config["plan"]["throughput"].get(name),
        }
    )
