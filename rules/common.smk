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


# What a method reads decides its rule; dmin.attribution.registry holds the same names, and a test compares the two.
GRADIENT_METHODS = [
    "dmin",
    "dmin_no_norm",
    "dmin_renorm",
    "dmin_centred",
    "dmin_kernel",
    "grad_dot",
    "grad_cos",
    "tracin_final",
    "retrac_final",
    "trak",
    "relative_if",
    "renormalised_if",
]
SAMPLE_METHODS = ["random", "pixels", "ssim", "clip", "text"]


def timestep_count(gradients):
    timesteps = gradients["timesteps"]
    return len(timesteps["custom"]) if timesteps["grid"] == "custom" else timesteps["count"]


def gradient_methods(run):
    return [method for method in run["influence"]["methods"] if method in GRADIENT_METHODS]


def widths(run):
    return [str(width) for width in sorted(run["influence"]["widths"])] + ["full"] * run["influence"]["uncompressed"]


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


def gradients_at(wildcards, split):
    """What holds the gradients of a split at width v: the sketch, or the shards for the uncompressed ones."""
    if wildcards.v == "full":
        return shards(wildcards.run, "loss", split)
    return f"<results>/runs/{wildcards.run}/sketch/loss/v{wildcards.v}/{split}.npy"


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
            tops += [f"{root}/{method}/v{v}/exact/top.parquet" for v in widths(settings)]
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


def shown_width(run):
    """The width whose pictures are shown: 2^12 where there is one, else the largest."""
    available = config["runs"][run]["influence"]["widths"]
    return 4096 if 4096 in available else max(available)


def rankings(run):
    """The ranked lists that the explorer shows, by label."""
    settings, width, root = config["runs"][run], shown_width(run), f"<results>/runs/{run}/influence"
    labelled = {}
    for method in settings["influence"]["methods"]:
        if method in SAMPLE_METHODS:
            labelled[method] = f"{root}/{method}/top.parquet"
            continue
        for v in [str(width)] + ["full"] * settings["influence"]["uncompressed"]:
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
