# The files that methods and evaluations leave, for whatever reads them. No rules.


def index_of(run, v):
    hnsw = config["runs"][run]["influence"]["hnsw"]
    return f"<results>/runs/{run}/index/v{v}/M{hnsw['M']}-efc{hnsw['ef_construction']}.hnsw"


def exact_tops(run):
    settings, root = config["runs"][run], f"<results>/runs/{run}/influence"
    tops = []
    for method in settings["influence"]["methods"]:
        if method in SAMPLE_METHODS:
            tops.append(f"{root}/{method}/top.parquet")
        else:
            tops += [f"{root}/{method}/v{v}/exact/top.parquet" for v in widths(settings, method)]
    return tops


def retrieved_tops(run, backend="hnsw"):
    """The ranked lists from an index, or the exact ones of the same widths."""
    influence = config["runs"][run]["influence"]
    if "dmin" not in influence["methods"]:
        return []
    return [f"<results>/runs/{run}/influence/dmin/v{v}/{backend}/top.parquet" for v in sorted(influence["widths"])]


def metrics_of(wildcards):
    """Every metrics file of a run, by the stage that wrote it; gradients and sketches of all that its methods read."""
    run, settings = wildcards.run, run_of(wildcards)
    train, queries = (
        [path for name in caches_of(settings, split) for path in shards(run, name, split)]
        for split in ("train", "queries")
    )
    root = f"<results>/runs/{run}"
    compressed = [str(width) for width in sorted(settings["influence"]["widths"])]
    return {
        "cache": [path.replace(".safetensors", ".metrics.json") for path in train],
        "query": [path.replace(".safetensors", ".metrics.json") for path in queries],
        "compress": [
            f"{root}/sketch/{name}/v{v}/train.metrics.json"
            for name in caches_of(settings, "train")
            for v in (compressed if name != "loss_blocks" else [settings["gradients"]["block_dim"]])
        ],
        "index": [index_of(run, v).replace(".hnsw", ".metrics.json") for v in compressed],
        "score": [path.replace("exact/", "").replace("top.parquet", "scores.metrics.json") for path in exact_tops(run)],
        "retrieve": [path.replace("top.parquet", "retrieval.metrics.json") for path in retrieved_tops(run)],
    }


def figure(name, caption, category, **labels):
    """The SVG and PNG of a figure; the SVG goes into the report."""
    shown = report(
        f"<run>/figures/{name}.svg",
        caption=f"../report/{caption}.rst",
        category=category,
        labels=labels,
    )
    return [shown, f"<run>/figures/{name}.png"]


def figure_settings(*keys):
    return canonical({key: config["figures"][key] for key in ("dpi", *keys)})


def shown_width(run, method):
    """The width whose pictures are shown of a method: 2^12 where there is one, else the largest."""
    available = [width for width in widths(config["runs"][run], method) if width != "full"]
    return "4096" if "4096" in available else available[-1]


def shown_folders(run):
    """The folder of each method's scores at the width whose pictures are shown, by method."""
    root = f"<results>/runs/{run}/influence"
    return {
        method: f"{root}/{method}" if method in SAMPLE_METHODS else f"{root}/{method}/v{shown_width(run, method)}"
        for method in config["runs"][run]["influence"]["methods"]
    }


def shown_tops(run):
    """The ranked list of each method at that width, by method."""
    return {
        method: f"{folder}/top.parquet" if method in SAMPLE_METHODS else f"{folder}/exact/top.parquet"
        for method, folder in shown_folders(run).items()
    }


def rankings(run):
    """The ranked lists that the explorer shows, by label."""
    settings, root = config["runs"][run], f"<results>/runs/{run}/influence"
    labelled = {}
    for method in settings["influence"]["methods"]:
        if method in SAMPLE_METHODS:
            labelled[method] = f"{root}/{method}/top.parquet"
            continue
        for v in [v for v in widths(settings, method) if v in (shown_width(run, method), "full")]:
            labelled[f"{method}, v={v}"] = f"{root}/{method}/v{v}/exact/top.parquet"
    return labelled


def explorer_notes(settings):
    """What a reader of the explorer must know about the run."""
    gradients = settings["gradients"]
    timesteps = gradients["timesteps"]
    return {
        "Model": settings["model"],
        "Parameters": gradients["parameters"],
        "Timesteps": f"{timestep_count(gradients)}, grid {timesteps['grid']}",
        "Noise": gradients["noise"]["policy"],
        "Training images": str(train_count(settings)),
    }


def ablated_indexes(wildcards):
    """What the search of every index of the HNSW ablation found."""
    grid = run_of(wildcards)["ablation"]["hnsw"]
    return [
        f"<results>/runs/{wildcards.run}/ablation/hnsw/v{grid['v']}/M{links}-efc{efc}.csv"
        for links in sorted(grid["M"])
        for efc in sorted(grid["ef_construction"])
    ]


def compression_widths(wildcards):
    """The widths of the compression ablation: those of the config, or 64 to cache_dim by doubling, as far as they fold."""
    run = run_of(wildcards)
    cache_dim = run["gradients"]["cache_dim"]
    doublings = [64 << n for n in range(cache_dim.bit_length()) if cache_dim % (64 << n) == 0]
    return sorted(run["ablation"]["compression"]["widths"] or {*doublings, cache_dim}, reverse=True)


# Methods that read one sketch a sample and timestep of the training samples and of the queries alike.
COMPRESSED_METHODS = [name for name, (train, queries) in METHOD_FEATURES.items() if train == queries != "loss_blocks"]


def compressed_methods(run):
    """The methods of a run whose sketches the compression ablation narrows; DMin always, for its figure."""
    return [name for name in COMPRESSED_METHODS if name in {"dmin", *config["runs"][run]["influence"]["methods"]}]


def cached_sketch(wildcards, split):
    """The sketches of a split at cache_dim that a method reads."""
    cache_dim, feature = run_of(wildcards)["gradients"]["cache_dim"], feature_of(wildcards.method, split)
    return f"<results>/runs/{wildcards.run}/sketch/{feature}/v{cache_dim}/{split}.npy"


def uncompressed_scores(wildcards):
    """A method's uncompressed scores, where the run keeps the gradients that they need."""
    kept = run_of(wildcards)["gradients"]["keep_raw"] and feature_of(wildcards.method, "train") == "loss"
    return [f"<results>/runs/{wildcards.run}/influence/{wildcards.method}/vfull/scores.npy"] if kept else []


KERNEL_METHODS = ["trak", "dmin_kernel", "dtrak", "dtrak_unit", "journey_trak"]


def lambda_sweeps(run):
    """The sweeps of a run's kernel methods; a choice needs two queries of a subset."""
    settings = config["runs"][run]
    if settings["queries"]["per_subset"] < 2 or not subsets_known(settings):
        return []
    return [
        f"<results>/runs/{run}/influence/{method}/v{v}/lambda.csv"
        for method in settings["influence"]["methods"]
        if method in KERNEL_METHODS
        for v in widths(settings, method)
    ]


def journey_steps(run):
    settings = config["runs"][run]
    if "journey_trak" not in settings["influence"]["methods"]:
        return []
    return [f"<results>/runs/{run}/influence/journey_trak/v{v}/steps.csv" for v in widths(settings, "journey_trak")]


def bank_of(wildcards):
    return config["banks"][run_of(wildcards)["lds"]["bank"]]


def bank_spans(bank):
    """The ranges of retrainings that one job each runs."""
    return shard_ranges(bank["subsets"] * bank["seeds"], bank["per_job"])


def span_settings(bank, span, *keys):
    """The settings of a bank that a range of its retrainings depends on."""
    start, stop = (int(number) // bank["seeds"] for number in span.split("-"))
    left_out = [number for number in bank["exclude"] if start <= number <= stop]
    return canonical({key: bank[key] for key in ("seeds", *keys)} | {"exclude": left_out})


def bank_sets(wildcards):
    name = run_of(wildcards)["lds"]["bank"]
    return [f"<results>/banks/{name}/sets/{span}.parquet" for span in bank_spans(config["banks"][name])]


def lds_interval(wildcards):
    """What the interval of an LDS depends on."""
    run = run_of(wildcards)
    return canonical(
        {"bootstrap": run["lds"]["bootstrap"]} | {key: run["evaluation"][key] for key in ("confidence", "seed")}
    )


def bank_losses(wildcards):
    return [f"<results>/runs/{wildcards.run}/lds/losses/{span}.parquet" for span in bank_spans(bank_of(wildcards))]


def scored_methods(run):
    """The folder of the scores of each method at each width, by (method, width)."""
    settings, root = config["runs"][run], f"<results>/runs/{run}/influence"
    folders = {}
    for method in settings["influence"]["methods"]:
        if method in SAMPLE_METHODS:
            folders[method, ""] = f"{root}/{method}"
        else:
            folders |= {(method, v): f"{root}/{method}/v{v}" for v in widths(settings, method)}
    return folders


def lds_sweeps(run):
    settings = config["runs"][run]
    return [
        f"<results>/runs/{run}/influence/{method}/v{v}/lds_lambda.csv"
        for method in settings["influence"]["methods"]
        if method in KERNEL_METHODS
        for v in widths(settings, method)
    ]


# The tables that the paper's sections are made of: detection rates, time and storage, the ablations, and what else is asked
# of a run.
PAPER_SECTIONS = [
    "detection_rate",
    "cost_summary",
    "retrieval",
    "hubness",
    "hnsw_ablation",
    "compression_ablation",
    "journey_steps",
    "lds",
]


def paper_runs(section):
    """The runs that have a table of the paper."""
    has = {
        "detection_rate": subsets_known,
        "hnsw_ablation": lambda run: "ablation" in run,
        "compression_ablation": lambda run: "ablation" in run,
        "journey_steps": lambda run: "journey_trak" in run["influence"]["methods"],
        "lds": lambda run: "lds" in run,
    }
    return [name for name, run in config["runs"].items() if has.get(section, bool)(run)]
