# What each method reads: the features of its caches, their settings and their files. No rules.


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
# Those of them that compute on compute.device.
DEVICE_METHODS = ["ssim", "clip"]


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


def method_caches(run, method, split):
    """The features whose caches a method reads of a split, one for each checkpoint where it sums over them."""
    if method in CHECKPOINT_METHODS:
        return [f"checkpoint-{step}" for step in checkpoint_steps(run)]
    return [feature_of(method, split)]


def read_caches(run):
    """The features that each method of a run reads, by split; methods without gradients are left out."""
    methods = [method for method in run["influence"]["methods"] if method not in SAMPLE_METHODS]
    return {method: {split: method_caches(run, method, split) for split in ("train", "queries")} for method in methods}


def caches_of(run, split):
    """The features whose caches the methods of a run read of a split, those of checkpoints among them."""
    read = [name for caches in read_caches(run).values() for name in caches[split]]
    return list(dict.fromkeys(["loss", *read]))


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
