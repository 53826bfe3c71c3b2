# What rules ask for: config sections as params, code digests, and the paths of files. No rules.

import ast
import hashlib
import math
import re
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

ROOT = Path(workflow.basedir)


def name_pattern(table):
    """A wildcard constraint that admits the names of a config table and nothing else."""
    return "|".join(re.escape(name) for name in config[table]) or "(?!)"


def gpus():
    """GPUs that a heavy rule asks for; a limit in the profile keeps such jobs apart."""
    return 0 if config["compute"]["device"] == "cpu" else 1


def split_counts(dataset):
    """Noised copies, all rows and training rows of a data set, in exact arithmetic."""
    rows = sum(source["rows"] for source in dataset["sources"])
    copies = math.floor(rows * Fraction(str(dataset["noise"]["fraction"])))
    total = rows + copies
    return copies, total, math.floor(total * Fraction(str(dataset["train_fraction"])))


def train_count(run):
    return split_counts(dataset_of(run))[2]


def dataset_of(run):
    return config["datasets"][config["models"][run["model"]]["dataset"]]


def query_count(run):
    return run["queries"]["per_subset"] * len(dataset_of(run)["sources"])


def canonical(value):
    """Sort every mapping, so that the order of keys in the config never reruns anything."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    return [canonical(entry) for entry in value] if isinstance(value, list) else value


def section(*path):
    """The canonical config section at ``path``; ``{name}`` parts are taken from the wildcards."""

    def lookup_section(wildcards):
        value = config
        for part in path:
            value = value[part.format(**dict(wildcards.items()))]
        return canonical(value)

    return lookup_section


def run_of(wildcards):
    return config["runs"][wildcards.run]


def model_of(wildcards):
    return config["models"][run_of(wildcards)["model"]]


def base_of(wildcards):
    """The base of a rule's model: from the wildcard ``base``, ``model`` or ``run``."""
    if "base" in wildcards.keys():
        return config["bases"][wildcards.base]
    model = config["models"][wildcards.model] if "model" in wildcards.keys() else model_of(wildcards)
    return config["bases"][model["base"]]


def finetuned(kind):
    """A wildcard constraint that admits the models of one kind of fine-tuning."""
    names = [re.escape(name) for name, model in config["models"].items() if model["finetune"] == kind]
    return "|".join(names) or "(?!)"


def weights_of(wildcards):
    """The trained weights that a run asks about: an adapter file, or a pipeline folder."""
    name = run_of(wildcards)["model"]
    file = "pipeline" if config["models"][name]["finetune"] == "full" else "pytorch_lora_weights.safetensors"
    return f"<results>/models/{name}/{file}"


def base_files(wildcards):
    """The files of a local base pipeline; none for one on the hub."""
    folder = Path(base_of(wildcards)["path"])
    return sorted(
        str(path) for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors", ".txt")
    )


@lru_cache(maxsize=None)
def module_facts(path):
    """A module's syntax digest, deaf to comments, formatting and docstrings, and the dmin modules that it imports."""
    tree = ast.parse(path.read_text())
    imports = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dmin":
            imports.add(node.module)
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names if alias.name.split(".")[0] == "dmin")
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            if isinstance(body[0].value.value, str):
                body[0].value.value = ""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(imports)


@lru_cache(maxsize=None)
def code_digest(rule_name):
    """A digest of a rule's script, of every dmin module it imports, directly or not, and of the modules' templates."""
    pending, digests = [ROOT / "scripts" / f"{rule_name}.py"], {}
    while pending:
        path = pending.pop()
        if path in digests:
            continue
        digests[path], imports = module_facts(path)
        for template in path.parent.glob(f"{path.stem}.*.j2"):
            digests[template] = hashlib.sha256(template.read_bytes()).hexdigest()
        for name in imports:
            stem = ROOT.joinpath("scripts", *name.split("."))
            pending += [file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.exists()]
    lines = sorted(f"{path.relative_to(ROOT)} {digest}" for path, digest in digests.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def shard_ranges(count, size):
    """Names of the sample ranges that shard ``count`` samples by ``size``."""
    return [f"{start:08d}-{min(start + size, count):08d}" for start in range(0, count, size)]


def shards(run_name, feature, split):
    run = config["runs"][run_name]
    count = train_count(run) if split == "train" else query_count(run)
    return [
        f"<results>/runs/{run_name}/gradients/{feature}/{split}/{name}.safetensors"
        for name in shard_ranges(count, run["gradients"]["shard_size"])
    ]


# The feature whose cache a method reads, of the training samples and of the queries. What a method reads decides its
# rule; dmin.attribution.registry holds the same names, and a test compares the two.
METHOD_FEATURES = {
    "dmin": ("loss", "loss"),
    "dmin_no_norm": ("loss", "loss"),
    "dmin_renorm": ("loss", "loss"),
    "dmin_centred": ("loss", "loss"),
    "dmin_kernel": ("loss", "loss"),
    "grad_dot": ("loss", "loss"),
    "grad_cos": ("loss", "loss"),
    "tracin_final": ("loss", "loss"),
    "retrac_final": ("loss", "loss"),
    "trak": ("loss", "loss"),
    "relative_if": ("loss", "loss"),
    "renormalised_if": ("loss", "loss"),
    "dmin_weighted": ("loss", "loss"),
    "dtrak": ("output_norm", "output_norm"),
    "dtrak_unit": ("output_norm", "output_norm"),
    "journey_trak": ("loss", "journey"),
    "datainf": ("loss_blocks", "loss_blocks"),
    "lissa_gram": ("loss_blocks", "loss_blocks"),
    "lissa": ("loss", "lissa"),
}
FEATURES = sorted({feature for features in METHOD_FEATURES.values() for feature in features})
GRADIENT_METHODS = list(METHOD_FEATURES)
# They read a cache for each checkpoint of the training, by their own rule.
CHECKPOINT_METHODS = ["tracin", "retrac"]
CHECKPOINT_FEATURE = r"checkpoint-\d+"
SAMPLE_METHODS = ["random", "pixels", "ssim", "clip", "text"]


def timestep_count(gradients):
    timesteps = gradients["timesteps"]
    return len(timesteps["custom"]) if timesteps["grid"] == "custom" else timesteps["count"]


def gradient_methods(run):
    return [method for method in run["influence"]["methods"] if method in GRADIENT_METHODS]


def features_of(run, split):
    """The features whose caches the methods of a run read of a split; the loss always, for the tables on gradients."""
    return sorted({"loss"} | {feature_of(method, split) for method in gradient_methods(run)})


def widths(run, method):
    """The widths that a method is scored at; only the loss keeps uncompressed gradients, for they are large."""
    compressed = [str(width) for width in sorted(run["influence"]["widths"])]
    if method in CHECKPOINT_METHODS:
        return compressed
    if feature_of(method, "train") == "loss_blocks":
        # A sketch per tensor does not fold.
        return [str(run["gradients"]["block_dim"])]
    uncompressed = run["influence"]["uncompressed"] and set(METHOD_FEATURES[method]) == {"loss"}
    return compressed + ["full"] * uncompressed


def checkpoint_steps(run):
    return sorted(config["models"][run["model"]]["train"]["checkpoints"])


def source_of(wildcards):
    sources = config["datasets"][wildcards.dataset]["sources"]
    return next(source for source in sources if source["name"] == wildcards.source)


def source_input(wildcards):
    """The files of a local source, so that a changed image is fetched again; none for one on the hub."""
    path = Path(source_of(wildcards)["path"])
    return [str(path)] if path.is_file() else sorted(str(file) for file in path.rglob("*") if file.is_file())


def encoded_split(wildcards):
    if wildcards.split == "queries":
        return f"<results>/runs/{wildcards.run}/queries/queries.safetensors"
    return "<results>/encoded/{dataset}/{base}/train.safetensors".format(**model_of(wildcards))


def feature_of(method, split):
    """The feature whose cache holds what a method reads of a split."""
    return METHOD_FEATURES[method][0 if split == "train" else 1]


def feature_settings(wildcards):
    """How the cache of a feature differs from that of the loss: what is differentiated, averaged over how many noises."""
    if wildcards.feature == "journey":
        options = run_of(wildcards)["influence"]["options"]
        return {"quantity": "loss", "draws": options["journey_draws"], "steps": options["journey_steps"]}
    if wildcards.feature.startswith("checkpoint-"):
        # The training samples are replayed as they were last seen; the queries meet fresh noises.
        step = int(wildcards.feature.removeprefix("checkpoint-"))
        draws = 1 if wildcards.split == "train" else run_of(wildcards)["influence"]["options"]["tracin_draws"]
        return {"quantity": "loss", "draws": draws, "checkpoint": step}
    return {"quantity": "output_norm" if wildcards.feature == "output_norm" else "loss", "draws": 1}


def gradient_settings(wildcards):
    """The settings of the gradient cache that hold for a feature."""
    settings = {key: value for key, value in run_of(wildcards)["gradients"].items() if key != "shard_size"}
    block_dim = settings.pop("block_dim")
    if wildcards.feature != "loss":
        settings["keep_raw"] = False
    if wildcards.feature == "loss_blocks":
        settings |= {"cache_dim": block_dim, "sketch_kind": "blocks"}
    if wildcards.feature == "journey":
        # Its timesteps are those of sampling, and its noise is fresh: no query shares it with another or with training.
        del settings["timesteps"]
        settings["noise"] = {**settings["noise"], "policy": "by_id"}
    if wildcards.feature.startswith("checkpoint-"):
        del settings["timesteps"]
        if wildcards.split == "queries":
            count = run_of(wildcards)["influence"]["options"]["tracin_timesteps"]
            settings["timesteps"] = {"grid": "custom", "count": count, "custom": even_timesteps(count)}
            settings["noise"] = {**settings["noise"], "policy": "by_id"}
    return canonical(settings)


def even_timesteps(count):
    """Timesteps 1 to 999, evenly spaced."""
    return [500] if count == 1 else [1 + round(998 * place / (count - 1)) for place in range(count)]


def feature_weights(wildcards):
    """The weights whose gradients a feature holds: the trained ones, or the folder of the checkpoints."""
    if wildcards.feature.startswith("checkpoint-"):
        return f"<results>/models/{run_of(wildcards)['model']}/checkpoints"
    return weights_of(wildcards)


def replayed_log(wildcards):
    """The training log that the training samples of a checkpoint are replayed from; none for other caches."""
    replayed = wildcards.feature.startswith("checkpoint-") and wildcards.split == "train"
    return [f"<results>/models/{run_of(wildcards)['model']}/training_log.parquet"] if replayed else []


def lissa_gradients(wildcards):
    """The settings of the gradient cache that LiSSA's answers depend on."""
    keys = ("parameters", "timesteps", "noise", "cache_dim", "sketch_kind", "sketch_seed")
    return canonical({key: run_of(wildcards)["gradients"][key] for key in keys})


def lissa_settings(wildcards):
    options = run_of(wildcards)["influence"]["options"]
    return {key: options[f"lissa_{key}"] for key in ("batch", "damping", "products")} | {"seed": options["seed"]}


def trajectory_of(wildcards):
    """The trajectory that gradients are taken along; none but for the journey."""
    return [f"<results>/runs/{wildcards.run}/queries/trajectory.safetensors"] if wildcards.feature == "journey" else []


def gradients_at(wildcards, split):
    """What holds the gradients that a method reads at width v: the sketch, or the shards for the uncompressed ones."""
    feature = feature_of(wildcards.method, split)
    if wildcards.v == "full":
        return shards(wildcards.run, feature, split)
    return f"<results>/runs/{wildcards.run}/sketch/{feature}/v{wildcards.v}/{split}.npy"


def checkpoint_shards(wildcards, split):
    """The shards of every checkpoint, checkpoint by checkpoint."""
    steps = checkpoint_steps(run_of(wildcards))
    return [shard for step in steps for shard in shards(wildcards.run, f"checkpoint-{step}", split)]


def checkpoint_sketches(wildcards, split):
    """The sketches of every checkpoint at width v, checkpoint by checkpoint."""
    steps = checkpoint_steps(run_of(wildcards))
    return [f"<results>/runs/{wildcards.run}/sketch/checkpoint-{step}/v{wildcards.v}/{split}.npy" for step in steps]


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
    """Every metrics file of a run, by the stage that wrote it."""
    run, settings = wildcards.run, run_of(wildcards)
    root = f"<results>/runs/{run}"
    compressed = [str(width) for width in sorted(settings["influence"]["widths"])]
    return {
        "cache": [path.replace(".safetensors", ".metrics.json") for path in shards(run, "loss", "train")],
        "query": [path.replace(".safetensors", ".metrics.json") for path in shards(run, "loss", "queries")],
        "compress": [f"{root}/sketch/loss/v{v}/train.metrics.json" for v in compressed],
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


def cached_sketch(split):
    """The sketches of a split at cache_dim."""
    return lambda w: f"<results>/runs/{w.run}/sketch/loss/v{run_of(w)['gradients']['cache_dim']}/{split}.npy"


def uncompressed_scores(wildcards):
    """DMin's uncompressed scores, where the run keeps the gradients that they need."""
    kept = run_of(wildcards)["gradients"]["keep_raw"]
    return [f"<results>/runs/{wildcards.run}/influence/dmin/vfull/scores.npy"] if kept else []


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
    return jobs + ("journey_trak" in run["influence"]["methods"])


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
