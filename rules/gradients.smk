# The gradient cache and its compression.


# Before any shard is made again, and so removed. Where files on disk tell, the config's check has done it.
rule check_width:
    input:
        lambda w: runs[w.run].model.weights,
    output:
        "<run>/gradients/width.json",
    log:
        "<logs>/check_width/{run}.log",
    benchmark:
        "<benchmarks>/check_width/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        gradients=lambda w: dmin.pick(runs[w.run].gradients.settings, "cache_dim", "parameters"),
        code=code("check_width"),
    script:
        "../scripts/check_width.py"


rule pilot_scale:
    input:
        samples=lambda w: runs[w.run].model.samples,
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
        width=lambda w: runs[w.run].width_check,
    output:
        "<run>/pilot_scale/{quantity}.json",
    log:
        "<logs>/pilot_scale/{run}/{quantity}.log",
    benchmark:
        "<benchmarks>/pilot_scale/{run}/{quantity}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["gradient_batch"],
    params:
        gradients=lambda w: runs[w.run].gradients.scale_settings(w.quantity),
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("pilot_scale", "family"),
    script:
        "../scripts/pilot_scale.py"


rule pilot_curvature:
    input:
        samples=lambda w: runs[w.run].model.samples,
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
        width=lambda w: runs[w.run].width_check,
    output:
        "<run>/pilot_curvature/loss.safetensors",
    log:
        "<logs>/pilot_curvature/{run}.log",
    benchmark:
        "<benchmarks>/pilot_curvature/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        # Beside the weights, a value for each parameter and the bases.
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base, copies=4),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["gradient_batch"],
    params:
        gradients=lambda w: runs[w.run].gradients.curvature_settings,
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("pilot_curvature", "family"),
    script:
        "../scripts/pilot_curvature.py"


rule cache_gradients:
    input:
        samples=lambda w: runs[w.run].gradients.samples(w.split),
        weights=lambda w: runs[w.run].gradients.weights(w.cache),
        base=ancient(lambda w: runs[w.run].model.base.files),
        width=lambda w: runs[w.run].width_check,
        trajectory=lambda w: runs[w.run].gradients.trajectory(w.cache),
        replay=lambda w: runs[w.run].gradients.replayed_log(w.cache, w.split),
        scale=lambda w: runs[w.run].gradients.scale(w.cache),
        curvature=lambda w: runs[w.run].gradients.curvature(w.cache),
        regions=lambda w: runs[w.run].gradients.regions(w.split),
    output:
        shard="<run>/gradients/{cache}/{split}/{range}.safetensors",
        metrics="<run>/gradients/{cache}/{split}/{range}.metrics.json",
    log:
        "<logs>/cache_gradients/{run}/{cache}/{split}/{range}.log",
    benchmark:
        "<benchmarks>/cache_gradients/{run}/{cache}/{split}/{range}.tsv"
    wildcard_constraints:
        # The answers of LiSSA to the queries have a rule of their own.
        cache=dmin.cache_pattern(dmin.LISSA_CACHE),
    # Ahead of what judges the queries' images: the galleries wait for it.
    priority: 1
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["gradient_batch"],
    params:
        gradients=lambda w: runs[w.run].gradients.gradient_settings(w.cache, w.split),
        cache=lambda w: runs[w.run].gradients.cache_settings(w.cache, w.split),
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("cache_gradients", "family"),
    script:
        "../scripts/cache_gradients.py"


rule cache_lissa:
    input:
        samples=lambda w: runs[w.run].model.samples,
        queries="<run>/queries/queries.safetensors",
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
        width=lambda w: runs[w.run].width_check,
        regions=lambda w: runs[w.run].gradients.regions(w.split),
    output:
        shard="<run>/gradients/lissa/{split}/{range}.safetensors",
        metrics="<run>/gradients/lissa/{split}/{range}.metrics.json",
    log:
        "<logs>/cache_lissa/{run}/{split}/{range}.log",
    benchmark:
        "<benchmarks>/cache_lissa/{run}/{split}/{range}.tsv"
    wildcard_constraints:
        split="queries|regions",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["lissa_batch"],
    params:
        gradients=lambda w: runs[w.run].gradients.lissa_gradients,
        lissa=lambda w: runs[w.run].gradients.lissa_settings,
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("cache_lissa", "family"),
    script:
        "../scripts/cache_lissa.py"


rule gradients:
    input:
        [
            run.gradients.shards(cache, split)
            for run in runs.values()
            for split in ("train", "queries")
            for cache in run.influence.caches(split)
        ],
        [shard for run in runs.values() for _, shard in run.held_out.shards],


rule compress:
    input:
        lambda w: runs[w.run].gradients.shards(w.cache, w.split),
    output:
        sketch="<run>/sketch/{cache}/v{v}/{split}.npy",
        description="<run>/sketch/{cache}/v{v}/{split}.json",
        metrics="<run>/sketch/{cache}/v{v}/{split}.metrics.json",
    log:
        "<logs>/compress/{run}/{cache}/v{v}/{split}.log",
    benchmark:
        "<benchmarks>/compress/{run}/{cache}/v{v}/{split}.tsv"
    wildcard_constraints:
        v=r"\d+",
    # On the way to the galleries.
    priority: 2
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("compress"),
    script:
        "../scripts/compress.py"
