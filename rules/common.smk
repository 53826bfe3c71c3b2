# Config access: validation, the canonical sections that rules take as params, code digests, and targets. No rules.

import ast
import difflib
import hashlib
import json
import math
import re
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import jsonschema
import yaml

ROOT = Path(workflow.basedir)


def fail(sentence):
    raise WorkflowError(f"Config: {sentence}")


def filling_validator():
    """A JSON schema validator that writes defaults into the instance, properties first so that defaults count."""
    base = jsonschema.Draft202012Validator
    check_properties = base.VALIDATORS["properties"]

    def properties(validator, schemas, instance, schema):
        if isinstance(instance, dict):
            for key, entry in schemas.items():
                if "default" in entry:
                    instance.setdefault(key, json.loads(json.dumps(entry["default"])))
        yield from check_properties(validator, schemas, instance, schema)

    return jsonschema.validators.extend(base, {"properties": properties})


def explain(error):
    """Say what is wrong with one config entry: the key, the value and the fix."""
    where = ".".join(str(part) for part in error.absolute_path) or "the top level"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = sorted(key for key in error.instance if key not in known)[0]
        near = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys are {', '.join(known)}."
        return f"{where} has the unknown key '{unknown}'; {hint}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance][0]
        return f"{where} lacks the key '{missing}'; add it."
    if error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        hint = ""
        if wanted == "number" and isinstance(error.instance, str):
            hint = " (YAML reads 1e-4 as text; write 1.0e-4)"
        return f"{where} is {error.instance!r}, but must be of type {wanted}{hint}."
    if error.validator == "enum":
        choices = [str(value) for value in error.validator_value]
        return f"{where} is {error.instance!r}; choose one of {', '.join(choices)}."
    message = error.message.rstrip(".")
    return f"{where}: {message}; correct it as config/README.md describes."


def validate_config(config):
    schema = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text())
    errors = sorted(filling_validator()(schema).iter_errors(config), key=lambda e: len(list(e.absolute_path)))
    if errors:
        fail(explain(jsonschema.exceptions.best_match(errors)))
    for name, dataset in config["datasets"].items():
        check_dataset(name, dataset)
    for name, model in config["models"].items():
        for key, table in (("dataset", "datasets"), ("base", "bases")):
            if model[key] not in config[table]:
                fail(f"models.{name}.{key} is '{model[key]}', which {table} does not define; define it or correct the name.")
    for name, run in config["runs"].items():
        check_run(name, run)


def name_pattern(table):
    """A wildcard constraint that admits the names of a config table and nothing else."""
    return "|".join(re.escape(name) for name in config[table]) or "(?!)"


def gpus():
    """GPUs that a heavy rule asks for; a limit in the profile keeps such jobs apart."""
    return 0 if config["compute"]["device"] == "cpu" else 1


def is_local(path):
    return path.startswith((".", "/")) or path.endswith(".parquet") or Path(path).exists()


def check_dataset(name, dataset):
    names = [source["name"] for source in dataset["sources"]]
    for source in dataset["sources"]:
        key = f"datasets.{name}.sources '{source['name']}'"
        if names.count(source["name"]) > 1:
            fail(f"datasets.{name}.sources lists '{source['name']}' twice; give each source a name of its own.")
        if source["name"] in ("noise", "mean"):
            fail(f"{key}: this name is reserved; choose another.")
        if is_local(source["path"]) and not Path(source["path"]).exists():
            fail(f"{key}: path '{source['path']}' does not exist; correct it.")
    copies, total, train = split_counts(dataset)
    if train < 1 or train == total:
        fail(f"datasets.{name}.train_fraction {dataset['train_fraction']} leaves the training or the test set empty.")


def check_run(name, run):
    key = f"runs.{name}"
    if run["model"] not in config["models"]:
        fail(f"{key}.model is '{run['model']}', which models does not define; define it or correct the name.")
    influence, gradients = run["influence"], run["gradients"]
    for width in influence["widths"]:
        if gradients["cache_dim"] % width:
            fail(
                f"{key}.influence.widths has {width}, which does not divide gradients.cache_dim "
                f"{gradients['cache_dim']}; use widths that do."
            )
    train = train_count(run)
    top, ef = influence["top_k"], influence["hnsw"]["ef"]
    if top > train:
        fail(f"{key}.influence.top_k is {top}, but the training set has {train} samples; lower it.")
    if ef < top:
        fail(f"{key}.influence.hnsw.ef is {ef}, below top_k {top}; raise ef or lower top_k.")
    if max(run["evaluation"]["k"]) > top:
        fail(f"{key}.evaluation.k has {max(run['evaluation']['k'])}, above influence.top_k {top}; raise top_k.")
    if influence["uncompressed"] and not gradients["keep_raw"]:
        fail(f"{key}.influence.uncompressed needs the uncompressed gradients; set gradients.keep_raw to true.")
    if gradients["timesteps"]["grid"] == "custom" and not gradients["timesteps"]["custom"]:
        fail(f"{key}.gradients.timesteps.custom is empty; list the timesteps that grid custom stands for.")


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


def base_files(wildcards):
    """The files of a local base pipeline; none for one on the hub."""
    folder = Path(base_of(wildcards)["path"])
    return sorted(str(path) for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors", ".txt"))


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
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            if isinstance(body[0].value.value, str):
                body[0].value.value = ""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(imports)


@lru_cache(maxsize=None)
def code_digest(rule_name):
    """A digest of a rule's script and of every dmin module it imports, directly or not."""
    pending, digests = [ROOT / "scripts" / f"{rule_name}.py"], {}
    while pending:
        path = pending.pop()
        if path in digests:
            continue
        digests[path], imports = module_facts(path)
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


def widths(run):
    return [str(width) for width in sorted(run["influence"]["widths"])] + ["full"] * run["influence"]["uncompressed"]


validate_config(config)
