# Validation of a run's settings: one clear sentence for the first mistake. No rules.

from pathlib import Path


def fail(sentence):
    """Stop with one sentence; a WorkflowError would print this file's stack below it."""
    raise SystemExit(f"Error: {sentence}")


def check_run(name, run):
    key = f"runs.{name}"
    if run["model"] not in config["models"]:
        fail(f"{key}.model is '{run['model']}', which models does not define; define it or correct the name.")
    influence, gradients = run["influence"], run["gradients"]
    replayed = [method for method in influence["methods"] if method in CHECKPOINT_METHODS]
    if replayed and config["models"][run["model"]]["weights"]:
        fail(
            f"{key}.influence.methods has {replayed[0]}, which needs checkpoints and the log of the training, but model "
            f"{run['model']} has weights of its own; leave the method out, or have the model trained here (weights: null)."
        )
    if replayed and not checkpoint_steps(run):
        fail(
            f"{key}.influence.methods has {replayed[0]}, which needs checkpoints, and model {run['model']} keeps none; list "
            f"steps in models.{run['model']}.train.checkpoints."
        )
    if replayed:
        batch, first = config["models"][run["model"]]["train"]["batch_size"], checkpoint_steps(run)[0]
        epoch = math.ceil(train_count(run) / batch)
        if first < epoch:
            fail(
                f"models.{run['model']}.train.checkpoints has {first}, but the first epoch, in which every sample is seen "
                f"once, takes {epoch} steps; name steps from {epoch} on."
            )
    for width in influence["widths"]:
        if gradients["cache_dim"] % width:
            fail(
                f"{key}.influence.widths has {width}, which does not divide gradients.cache_dim "
                f"{gradients['cache_dim']}; use widths that do."
            )
    check_own_queries(key, run)
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
    steps, options = run["queries"]["steps"], influence["options"]
    if "journey_trak" in influence["methods"] and options["journey_steps"] > steps:
        fail(
            f"{key}.influence.options.journey_steps is {options['journey_steps']}, above queries.steps {steps}; lower it."
        )
    encoder = options["encoder"]
    if "clip" in influence["methods"] and is_local(encoder) and not Path(encoder).is_dir():
        fail(
            f"{key}.influence.options.encoder is '{encoder}', which is no folder; correct it (it is relative to the working "
            "directory) or set it to efficientnet."
        )
    if "dmin_weighted" in influence["methods"] and run["queries"]["per_subset"] < 2:
        fail(
            f"{key}.influence.methods has dmin_weighted, which learns from one half of the queries for the other; set "
            "queries.per_subset to 2 or more."
        )
    model = config["models"][run["model"]]
    if gradients["parameters"] == "adapter" and model["finetune"] == "full":
        fail(
            f"{key}.gradients.parameters is adapter, but models.{run['model']} is fine-tuned in full; set it to all or "
            "transformer_blocks."
        )
    if gradients["objective"] == "reference" and config["bases"][model["base"]]["family"] != "stable_diffusion_3":
        fail(f"{key}.gradients.objective is reference, which only stable_diffusion_3 has; set it to training.")
    check_classifier(key, run)
    timesteps, base = gradients["timesteps"], config["bases"][config["models"][run["model"]]["base"]]
    if timesteps["grid"] == "dmin_cubic" and repeats_timesteps(timesteps["count"], base["family"]):
        fail(
            f"{key}.gradients.timesteps.count is {timesteps['count']}, at which the grid dmin_cubic repeats a timestep; "
            "lower it or use the grid uniform."
        )
    if gradients["timesteps"]["grid"] == "custom" and not gradients["timesteps"]["custom"]:
        fail(f"{key}.gradients.timesteps.custom is empty; list the timesteps that grid custom stands for.")
    if "lds" in run:
        check_lds(key, run)
    if "journey_trak" in influence["methods"] and run["queries"]["source"] in ("held_out", "images"):
        fail(
            f"{key}.influence.methods has journey_trak, which needs the trajectory of a generated image, but "
            f"queries.source is {run['queries']['source']}; leave the method out or set the source to generated or prompts."
        )
    if "ablation" in run:
        check_ablation(key, run)
    check_select(key, run)
    for study in CONTROLS:
        if study in run:
            check_study(name, run, study)
    if "removal" in run:
        check_removal(name, run)
    if "thickness" in run and not run["queries"]["select"]:
        fail(f"{key}.thickness asks about the thickest generated digits, but {key}.queries.select is null; set select.")


def check_select(key, run):
    select, source = run["queries"]["select"], run["queries"]["source"]
    if not select:
        return
    if source != "generated" or not run["queries"]["classifier"]:
        fail(
            f"{key}.queries.select takes generated images that a classifier tells; set {key}.queries.source to generated "
            f"and name a classifier, or set select to null."
        )
    if select["keep"] > select["of"]:
        fail(f"{key}.queries.select.keep is {select['keep']}, above of {select['of']}; lower it.")


def check_study(name, run, study):
    key, settings = f"runs.{name}.{study}", run[study]
    if run["queries"]["source"] != "generated":
        fail(
            f"{key} generates the queries again, but runs.{name}.queries.source is {run['queries']['source']}, whose images "
            "have no noise that they came from; set the source to generated or leave the table out."
        )
    refuse_own_weights(key, run["model"])
    for method in settings["methods"]:
        if method in CONTROLS["thickness"]:
            fail(f"{key}.methods has {method}, which is always there as a control; leave it out.")
        if method not in run["influence"]["methods"]:
            fail(
                f"{key}.methods has {method}, which runs.{name}.influence.methods lacks; add it there or leave it out here."
            )
    k, place = (settings["top_k"], "top_k") if study == "thickness" else (removal_k(name), "k")
    if k >= train_count(run):
        fail(
            f"{key}.{place} is {k}, but the training set has {train_count(run)} samples, of which some must be left; lower it."
        )
    excluded = left_out(settings)
    for removal, number in excluded:
        if removal == "none":
            fail(f"{key}.exclude has none/{number}, which everything is compared with; leave it in.")
        if removal not in removals_of(name, study) or number >= removal_sets(name, study, removal):
            fail(f"{key}.exclude has {removal}/{number}, which the study does not have; correct or leave it out.")
    for removal in removals_of(name, study):
        if all((removal, number) in excluded for number in range(removal_sets(name, study, removal))):
            fail(f"{key}.exclude leaves no removal of {removal}; keep one, or leave the method out of methods.")


def refuse_own_weights(key, model):
    """Refuse to retrain a model of which only the weights are known."""
    if config["models"][model]["weights"]:
        fail(
            f"{key} trains model {model} again, but models.{model}.weights were trained elsewhere; leave {key} out, or set "
            "weights to null and train to how it was trained."
        )


def check_removal(name, run):
    asked, available = run["removal"]["queries"], query_count(run)
    if asked > available:
        fail(f"runs.{name}.removal.queries is {asked}, but the run has {available} queries; lower it.")


def check_own_queries(key, run):
    """Refuse what a run cannot have whose queries are a user's own prompts or images."""
    queries, source = run["queries"], run["queries"]["source"]
    for name in ("prompts", "images"):
        if queries[name] and source != name:
            fail(f"{key}.queries has {name}, but the source is {source}; set source to {name}, or leave {name} out.")
    if subsets_known(run):
        return
    if not queries[source]:
        fail(
            f"{key}.queries.source is {source}, but {key}.queries.{source} is not set; say which {source} are asked about."
        )
    path = queries["images"]["path"] if source == "images" else queries["prompts"]
    if isinstance(path, str) and (source == "prompts" or is_local(path)) and not Path(path).exists():
        fail(
            f"{key}.queries.{source} names '{path}', which does not exist; correct it (it is relative to the working "
            "directory)."
        )
    family = config["bases"][config["models"][run["model"]]["base"]]["family"]
    if source == "prompts" and family == "ddpm":
        fail(
            f"{key}.queries.source is prompts, but model {run['model']} is unconditional; set the source to generated."
        )
    if source == "prompts" and not own_prompts(run):
        fail(f"{key}.queries.prompts has no prompt; give at least one.")
    needing = [f"influence.methods with {name}" for name in run["influence"]["methods"] if name == "dmin_weighted"]
    needing += [name for name in ("ablation", "lds") if name in run]
    if needing:
        fail(
            f"{key} has {needing[0]}, which needs the subset of each query, but queries.source is {source}; leave it out, "
            "or set the source to generated or held_out."
        )


def check_lds(key, run):
    name = run["lds"]["bank"]
    bank = config["banks"].get(name)
    if bank is None:
        fail(f"{key}.lds.bank is '{name}', which banks does not define; define it or correct the name.")
    if bank["model"] != run["model"]:
        fail(
            f"{key}.lds.bank is '{name}', a bank of model {bank['model']}, but the run asks about model {run['model']}; "
            "name a bank of that model."
        )
    refuse_own_weights(f"banks.{name}", bank["model"])
    left = bank["subsets"] - len([number for number in bank["exclude"] if number < bank["subsets"]])
    if left < 8:
        fail(f"banks.{name}.exclude leaves {left} of {bank['subsets']} sets, too few for an interval; keep at least 8.")


def check_classifier(key, run):
    if run["queries"]["source"] != "generated":
        return
    classifier, model = run["queries"]["classifier"], config["models"][run["model"]]
    classes = config["datasets"][model["dataset"]]["classes"]
    if classes and not classifier and config["bases"][model["base"]]["family"] == "ddpm":
        fail(
            f"{key}.queries.classifier is null, but model {run['model']} is unconditional and data set {model['dataset']} "
            "has classes, which nothing else tells of a generated image; name a classifier."
        )
    if not classifier:
        return
    if not classes:
        fail(
            f"{key}.queries.classifier is set, but data set {model['dataset']} has no classes; list them in "
            f"datasets.{model['dataset']}.classes or set the classifier to null."
        )
    path = Path(classifier["path"])
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            fail(
                f"{key}.queries.classifier.path is '{path}', but the file '{file}' does not exist; correct it (it is "
                "relative to the working directory)."
            )


def check_ablation(key, run):
    hnsw, cache_dim, top = run["ablation"]["hnsw"], run["gradients"]["cache_dim"], run["influence"]["top_k"]
    places = [("hnsw.v", hnsw["v"])]
    places += [("compression.widths", width) for width in run["ablation"]["compression"]["widths"]]
    for place, width in places:
        if cache_dim % width:
            fail(
                f"{key}.ablation.{place} has {width}, which does not divide gradients.cache_dim {cache_dim}; "
                "use a width that does."
            )
    if min(hnsw["ef"]) < top:
        fail(
            f"{key}.ablation.hnsw.ef has {min(hnsw['ef'])}, below influence.top_k {top}; raise ef or lower "
            "influence.top_k."
        )


def repeats_timesteps(count, family):
    """Whether the cubic grid holds a timestep twice; dmin.gradients.timesteps says how it is made."""
    positions = [int(1000 * (k / count) ** 3) for k in range(count + 1)]
    if family == "stable_diffusion":
        # Positions 1 and 2 of its scheduler's list hold the same timestep.
        positions = [2 if position == 1 else position for position in positions[1:]]
    else:
        positions = positions[:-1]
    return len(set(positions)) < count
