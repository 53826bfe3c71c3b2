# The gradient cache and its compression.


rule cache_gradients:
    input:
        samples=encoded_split,
        weights=weights_of,
        base=base_files,
    output:
        shard="<run>/gradients/{feature}/{split}/{range}.safetensors",
        metrics="<run>/gradients/{feature}/{split}/{range}.metrics.json",
    log:
        "<logs>/cache_gradients/{run}/{feature}/{split}/{range}.log",
    benchmark:
        "<benchmarks>/cache_gradients/{run}/{feature}/{split}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["gradient_batch"],
    params:
        gradients=lambda w: canonical(
            {key: value for key, value in run_of(w)["gradients"].items() if key != "shard_size"}
        ),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("cache_gradients"),
    script:
        "../scripts/cache_gradients.py"


rule gradients:
    input:
        [shards(run, "loss", split) for run in config["runs"] for split in ("train", "queries")],


rule compress:
    input:
        train=lambda w: shards(w.run, w.feature, "train"),
        queries=lambda w: shards(w.run, w.feature, "queries"),
    output:
        train="<run>/sketch/{feature}/v{v}/train.npy",
        train_description="<run>/sketch/{feature}/v{v}/train.json",
        train_metrics="<run>/sketch/{feature}/v{v}/train.metrics.json",
        queries="<run>/sketch/{feature}/v{v}/queries.npy",
        queries_description="<run>/sketch/{feature}/v{v}/queries.json",
        queries_metrics="<run>/sketch/{feature}/v{v}/queries.metrics.json",
    log:
        "<logs>/compress/{run}/{feature}/v{v}.log",
    benchmark:
        "<benchmarks>/compress/{run}/{feature}/v{v}.tsv"
    wildcard_constraints:
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    params:
        code=code_digest("compress"),
    script:
        "../scripts/compress.py"
