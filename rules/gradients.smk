# The gradient cache and its compression.


rule cache_gradients:
    input:
        samples=encoded_split,
        weights=feature_weights,
        base=base_files,
        trajectory=trajectory_of,
        replay=replayed_log,
    output:
        shard="<run>/gradients/{feature}/{split}/{range}.safetensors",
        metrics="<run>/gradients/{feature}/{split}/{range}.metrics.json",
    log:
        "<logs>/cache_gradients/{run}/{feature}/{split}/{range}.log",
    benchmark:
        "<benchmarks>/cache_gradients/{run}/{feature}/{split}/{range}.tsv"
    wildcard_constraints:
        feature="|".join([*(feature for feature in FEATURES if feature != "lissa"), CHECKPOINT_FEATURE]),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["gradient_batch"],
    params:
        gradients=gradient_settings,
        feature=feature_settings,
        base=lambda w: canonical(base_of(w)),
        code=code_digest("cache_gradients"),
    script:
        "../scripts/cache_gradients.py"


rule cache_lissa:
    input:
        samples=lambda w: "<results>/encoded/{dataset}/{base}/train.safetensors".format(**model_of(w)),
        queries="<run>/queries/queries.safetensors",
        weights=weights_of,
        base=base_files,
    output:
        shard="<run>/gradients/lissa/queries/{range}.safetensors",
        metrics="<run>/gradients/lissa/queries/{range}.metrics.json",
    log:
        "<logs>/cache_lissa/{run}/{range}.log",
    benchmark:
        "<benchmarks>/cache_lissa/{run}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["lissa_batch"],
    params:
        gradients=lissa_gradients,
        lissa=lissa_settings,
        base=lambda w: canonical(base_of(w)),
        code=code_digest("cache_lissa"),
    script:
        "../scripts/cache_lissa.py"


rule gradients:
    input:
        [
            shards(run, feature, split)
            for run, settings in config["runs"].items()
            for split in ("train", "queries")
            for feature in features_of(settings, split)
        ],


rule compress:
    input:
        lambda w: shards(w.run, w.feature, w.split),
    output:
        sketch="<run>/sketch/{feature}/v{v}/{split}.npy",
        description="<run>/sketch/{feature}/v{v}/{split}.json",
        metrics="<run>/sketch/{feature}/v{v}/{split}.metrics.json",
    log:
        "<logs>/compress/{run}/{feature}/v{v}/{split}.log",
    benchmark:
        "<benchmarks>/compress/{run}/{feature}/v{v}/{split}.tsv"
    wildcard_constraints:
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    params:
        code=code_digest("compress"),
    script:
        "../scripts/compress.py"
