# Validation of the config, its runs apart (run_validation.smk): one clear sentence for the first mistake. No rules.

import difflib
import json
import shutil
from pathlib import Path

import jsonschema
import yaml


def filling_validator():
    """A JSON schema validator that writes defaults into the instance, properties first so that defaults count."""
    base = jsonschema.Draft202012Validator
    # JSON has one kind of number, so 3.0 would pass for an integer.
    whole = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    check_properties = base.VALIDATORS["properties"]

    def properties(validator, schemas, instance, schema):
        if isinstance(instance, dict):
            for key, entry in schemas.items():
                if "default" in entry:
                    instance.setdefault(key, json.loads(json.dumps(entry["default"])))
        yield from check_properties(validator, schemas, instance, schema)

    return jsonschema.validators.extend(base, {"properties": properties}, type_checker=whole)


def explain(error):
    """Say what is wrong with one config entry: the key, the value and the fix."""
    where = ".".join(str(part) for part in error.absolute_path) or "the top level"
    if "propertyNames" in error.absolute_schema_path:
        return f"{where} has the name {error.instance!r}; use letters, digits, - and _, and quote a number."
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = min((key for key in error.instance if key not in known), key=str)
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
        near = difflib.get_close_matches(str(error.instance), choices, n=3)
        # A list too long to read is cut to the names that may be meant.
        if len(choices) > 12 and near:
            return f"{where} is {error.instance!r}; choose one of those in config/README.md, such as {', '.join(near)}."
        return f"{where} is {error.instance!r}; choose one of {', '.join(choices)}."
    message = error.message.rstrip(".")
    return f"{where}: {message}; correct it as config/README.md describes."


def drop_nulls(config):
    """Leave out table entries set to null, so that a config can drop what the one below it defines."""
    for table in ("datasets", "bases", "models", "runs", "banks"):
        if isinstance(config.get(table), dict):
            config[table] = {name: entry for name, entry in config[table].items() if entry is not None}


def validate_config(config):
    drop_nulls(config)
    schema = yaml.safe_load((ROOT / "schemas" / "config.schema.yaml").read_text())
    errors = sorted(
        filling_validator()(schema).iter_errors(config),
        key=lambda e: len(list(e.absolute_path)),
    )
    if errors:
        fail(explain(jsonschema.exceptions.best_match(errors)))
    for name, dataset in config["datasets"].items():
        check_dataset(name, dataset)
    for name, model in config["models"].items():
        for key, table in (("dataset", "datasets"), ("base", "bases")):
            if model[key] not in config[table]:
                fail(
                    f"models.{name}.{key} is '{model[key]}', which {table} does not define; define it or correct the name."
                )
        check_model(name, model)
    for name, run in config["runs"].items():
        check_run(name, run)
    for name, bank in config["banks"].items():
        if bank["model"] not in config["models"]:
            fail(
                f"banks.{name}.model is '{bank['model']}', which models does not define; define it or correct the name."
            )
    for name in config["plan"]["throughput"]:
        if name not in config["runs"]:
            fail(f"plan.throughput names '{name}', which runs does not define; define it or correct the name.")


def check_model(name, model):
    family, train = config["bases"][model["base"]]["family"], model["train"]
    late = [step for step in train["checkpoints"] if step > train["steps"]]
    if late:
        fail(
            f"models.{name}.train.checkpoints has {late[0]}, above steps {train['steps']}; name steps of the training."
        )
    if family == "ddpm" and model["finetune"] == "adapter":
        fail(f"models.{name}.finetune is adapter, which the family ddpm does not take; set it to full.")
    if train["accumulation"] > train["batch_size"]:
        fail(
            f"models.{name}.train.accumulation is {train['accumulation']}, above batch_size {train['batch_size']}; lower it."
        )
    own = model["weights"]
    processes = config["compute"]["train_processes"]
    if not own and processes > train["batch_size"] // train["accumulation"]:
        fail(
            f"compute.train_processes is {processes}, above batch_size / accumulation of models.{name}.train, which is "
            f"{train['batch_size'] // train['accumulation']}; lower it."
        )
    if own and is_local(own["path"]) and not Path(own["path"]).exists():
        fail(
            f"models.{name}.weights.path is '{own['path']}', which does not exist; correct it (it is relative to the working "
            "directory)."
        )
    if own and model["finetune"] == "full" and own["alpha"] is not None:
        fail(f"models.{name}.weights.alpha is for an adapter, but finetune is full; leave it out.")


def is_local(path):
    return path.startswith(".") or path.endswith(".parquet") or Path(path).is_absolute() or Path(path).exists()


def check_dataset(name, dataset):
    names = [source["name"] for source in dataset["sources"]]
    for source in dataset["sources"]:
        key = f"datasets.{name}.sources '{source['name']}'"
        if names.count(source["name"]) > 1:
            fail(f"datasets.{name}.sources lists '{source['name']}' twice; give each source a name of its own.")
        if source["name"] in ("noise", "mean", "all"):
            fail(f"{key}: this name is reserved; choose another.")
        if is_local(source["path"]) and not Path(source["path"]).exists():
            fail(
                f"{key}: path '{source['path']}' does not exist; correct it (it is relative to the working directory)."
            )
        if source["labels"] and source["label_column"] is None:
            fail(f"{key}: labels is set, but label_column is null; name the column that holds the labels.")
        if dataset["classes"] and source["label_column"] is None:
            fail(f"{key}: label_column is null, but the data set has classes; name the column that holds them.")
    for label in dataset["classes"] or []:
        if label in ("noise", "mean", "all"):
            fail(f"datasets.{name}.classes has '{label}', which is reserved; choose another.")
    copies, total, train = split_counts(dataset)
    if train < 1 or train == total:
        fail(
            f"datasets.{name}.train_fraction {dataset['train_fraction']} leaves the training or the test set of {total} "
            "rows empty; change it or take more rows."
        )


def check_disk():
    """Refuse to start where the disk cannot hold the gradient shards still to be made.

    Uncompressed gradients are not counted, since the number of parameters is known only with the model; each shard
    checks the disk again for everything it writes.
    """
    needed, missing, folder = 0, 0, Path(workflow.pathvars.apply("<results>"))
    for name, run in config["runs"].items():
        gradients = run["gradients"]
        steps = timestep_count(gradients)
        cached = [(split, feature) for split in ("train", "queries") for feature in features_of(run, split)]
        for split, feature in cached:
            rows = run["influence"]["options"]["journey_steps"] if feature == "journey" else steps
            for shard in shards(name, feature, split):
                if not Path(workflow.pathvars.apply(shard)).exists():
                    start, stop = map(int, Path(shard).stem.split("-"))
                    needed += (stop - start) * rows * 2 * gradients["cache_dim"]
                    missing += 1
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    if missing and needed > free:
        raise WorkflowError(
            f"The gradient cache needs {needed / 2**30:.1f} GiB for {missing} shards and '{folder}' has "
            f"{free / 2**30:.1f} GiB free; free some space, lower runs.*.gradients.cache_dim, or use --directory."
        )


validate_config(config)
