# What rules ask for: config sections as params, code digests, and the paths of files. No rules.

import ast
import hashlib
import math
import re
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

# Of this checkout, also where another workflow includes it as a module.
if not hasattr(workflow.current_basedir, "__fspath__"):
    raise SystemExit(
        "Error: as a module this workflow must be a checkout on disk, for its scripts import the library beside them; "
        "clone it and set the module's snakefile to the path of its Snakefile."
    )
ROOT = Path(workflow.current_basedir).parent


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


def subsets_of(dataset):
    """The names of the subsets of a data set: its classes, or its sources."""
    return dataset["classes"] or [source["name"] for source in dataset["sources"]]


def query_count(run):
    """How many images a run asks about."""
    queries = run["queries"]
    if queries["source"] == "prompts":
        return len(own_prompts(run))
    if queries["source"] == "images":
        return queries["images"]["rows"]
    if queries["select"]:
        return queries["select"]["keep"]
    return queries["per_subset"] * len(subsets_of(dataset_of(run)))


def subsets_known(run):
    """Whether the subset of a query is known, without which there is no detection rate; not of a user's own."""
    return run["queries"]["source"] in ("generated", "held_out")


def query_subsets(run):
    """The names of the subsets of a run's queries; those of a user's own are all of one."""
    return subsets_of(dataset_of(run)) if subsets_known(run) else ["query"]


def own_prompts(run):
    """The prompts that a config lists, or the lines of the text file that it names; blank lines do not count."""
    prompts = run["queries"]["prompts"]
    lines = Path(prompts).read_text(encoding="utf-8").splitlines() if isinstance(prompts, str) else prompts
    return [line.strip() for line in lines or [] if line.strip()]


def candidate_count(run):
    """Images that are generated so that per_subset of each class pass the classifier, or to select from."""
    if run["queries"]["select"]:
        return run["queries"]["select"]["of"]
    return math.ceil(query_count(run) * Fraction(str(run["queries"]["classifier"]["oversample"])))


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


def finetuned(kind, own=False):
    """A wildcard constraint that admits the models of one kind of fine-tuning, trained here or a user's own."""
    names = [
        re.escape(name)
        for name, model in config["models"].items()
        if model["finetune"] == kind and bool(model["weights"]) == own
    ]
    return "|".join(names) or "(?!)"


def own_weights(wildcards):
    """The files of a model's own weights on disk, so that changed ones are imported again; none for those on the hub."""
    path = Path(config["models"][wildcards.model]["weights"]["path"])
    return [str(path)] if path.is_file() else files_below(path)


def query_kind(run):
    """Where a run's queries come from: its source, or classified where a classifier labels what is generated, or
    selected where a measure chooses among those."""
    queries = run["queries"]
    if queries["source"] != "generated" or not queries["classifier"]:
        return queries["source"]
    return "selected" if queries["select"] else "classified"


def runs_asking(*kinds):
    """A wildcard constraint that admits the runs whose queries are of these kinds."""
    names = [re.escape(name) for name, run in config["runs"].items() if query_kind(run) in kinds]
    return "|".join(names) or "(?!)"


def weights_of(wildcards):
    """The trained weights that a run asks about: an adapter file, or a pipeline folder."""
    name = run_of(wildcards)["model"]
    file = "pipeline" if config["models"][name]["finetune"] == "full" else "pytorch_lora_weights.safetensors"
    return f"<results>/models/{name}/{file}"


def base_files(wildcards):
    """The files of a local base pipeline; none for one on the hub."""
    return files_below(base_of(wildcards)["path"])


def files_below(path):
    folder = Path(path)
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


def timestep_count(gradients):
    timesteps = gradients["timesteps"]
    return len(timesteps["custom"]) if timesteps["grid"] == "custom" else timesteps["count"]


def source_of(wildcards):
    sources = config["datasets"][wildcards.dataset]["sources"]
    return next(source for source in sources if source["name"] == wildcards.source)


def source_input(wildcards):
    return image_files(source_of(wildcards)["path"])


def image_files(path):
    """The files of local images, so that a changed one is fetched again; none for those on the hub."""
    path = Path(path)
    return [str(path)] if path.is_file() else sorted(str(file) for file in path.rglob("*") if file.is_file())


def encoded_split(wildcards):
    if wildcards.split == "queries":
        return f"<results>/runs/{wildcards.run}/queries/queries.safetensors"
    return "<results>/encoded/{dataset}/{base}/train.safetensors".format(**model_of(wildcards))
