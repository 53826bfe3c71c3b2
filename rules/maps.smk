# Influence maps: which regions, timesteps and layers scores come from. Regions of queries that are asked about.


rule cut_regions:
    input:
        queries="<run>/queries/queries.parquet",
        encoded="<run>/queries/queries.safetensors",
        images=ancient(lambda w: runs[w.run].queries.mask_files),
    output:
        table="<run>/queries/regions.parquet",
        masks="<run>/queries/regions.safetensors",
    log:
        "<logs>/cut_regions/{run}.log",
    benchmark:
        "<benchmarks>/cut_regions/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        regions=lambda w: runs[w.run].queries.regions,
        mask_contents=contents.masks,
        code=code("cut_regions"),
    script:
        "../scripts/cut_regions.py"


rule score_regions:
    input:
        unpack(lambda w: runs[w.run].held_out.scored(w.method, w.v)),
        train=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "train"),
        queries=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "regions"),
        train_norms=lambda w: runs[w.run].influence.shards(w.method, "train"),
        query_norms=lambda w: runs[w.run].influence.shards(w.method, "regions"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/regions.parquet",
        whole="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/{method}/v{v}/regions/scores.npy",
        description="<run>/influence/{method}/v{v}/regions/scores.json",
        top="<run>/influence/{method}/v{v}/regions/top.parquet",
        metrics="<run>/influence/{method}/v{v}/regions/scores.metrics.json",
    log:
        "<logs>/score_regions/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/score_regions/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.GRADIENT_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * runs[w.run].held_out.scoring_mb(w.method, w.v),
    params:
        lists=lambda w: runs[w.run].list_settings,
        options=lambda w: runs[w.run].influence.options_of(w.method),
        code=code("score", "method"),
    script:
        "../scripts/score.py"


rule score_regions_by_checkpoints:
    input:
        train=lambda w: runs[w.run].gradients.checkpoint_sketches(w.v, "train"),
        queries=lambda w: runs[w.run].gradients.checkpoint_sketches(w.v, "regions"),
        train_norms=lambda w: runs[w.run].gradients.checkpoint_shards("train"),
        query_norms=lambda w: runs[w.run].gradients.checkpoint_shards("regions"),
        checkpoints=lambda w: runs[w.run].model.checkpoints,
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/regions.parquet",
    output:
        scores="<run>/influence/{method}/v{v}/regions/scores.npy",
        description="<run>/influence/{method}/v{v}/regions/scores.json",
        top="<run>/influence/{method}/v{v}/regions/top.parquet",
        metrics="<run>/influence/{method}/v{v}/regions/scores.metrics.json",
    log:
        "<logs>/score_regions_by_checkpoints/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/score_regions_by_checkpoints/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.CHECKPOINT_METHODS),
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.scoring_mb(runs[w.run].gradients, w.method, w.v),
    params:
        top_k=lambda w: runs[w.run].influence.settings["top_k"],
        train=lambda w: runs[w.run].model.settings["train"],
        code=code("score_checkpoints", "method"),
    script:
        "../scripts/score_checkpoints.py"


rule cut_fields:
    input:
        queries="<run>/queries/queries.safetensors",
        top=lambda w: runs[w.run].influence.top(runs[w.run].maps.method, runs[w.run].maps.width),
    output:
        query_fields="<run>/maps/query_fields.safetensors",
        sample_fields="<run>/maps/sample_fields.safetensors",
        layers="<run>/maps/layers.safetensors",
    log:
        "<logs>/cut_fields/{run}.log",
    benchmark:
        "<benchmarks>/cut_fields/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        maps=lambda w: runs[w.run].maps.cut_settings,
        code=code("cut_fields"),
    script:
        "../scripts/cut_fields.py"


# Many rows of few images, so they go once the table stands.
rule cache_fields:
    input:
        samples=lambda w: runs[w.run].maps.samples(w.part),
        regions=lambda w: [runs[w.run].maps.masks(w.part)],
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
        width=lambda w: runs[w.run].width_check,
        trajectory=[],
        replay=[],
        scale=lambda w: runs[w.run].gradients.scale(w.cache),
        curvature=lambda w: runs[w.run].gradients.curvature(w.cache),
    output:
        shard=temp("<run>/maps/{cache}/{part}/{range}.safetensors"),
        metrics="<run>/maps/{cache}/{part}/{range}.metrics.json",
    log:
        "<logs>/cache_fields/{run}/{cache}/{part}/{range}.log",
    benchmark:
        "<benchmarks>/cache_fields/{run}/{cache}/{part}/{range}.tsv"
    wildcard_constraints:
        cache=dmin.cache_pattern(dmin.LISSA_CACHE),
        part=dmin.one_of(dmin.MAPPED_PARTS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["gradient_batch"],
    params:
        gradients=lambda w: runs[w.run].maps.gradient_settings(w.part, w.cache),
        cache=lambda w: runs[w.run].maps.cache_settings(w.part, w.cache),
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("cache_gradients", "family"),
    script:
        "../scripts/cache_gradients.py"


rule map_influence:
    input:
        unpack(lambda w: runs[w.run].maps.inputs),
    output:
        "<run>/tables/influence_maps.parquet",
    log:
        "<logs>/map_influence/{run}.log",
    benchmark:
        "<benchmarks>/map_influence/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * runs[w.run].maps.mb,
    params:
        method=lambda w: runs[w.run].maps.method,
        top_k=lambda w: runs[w.run].maps.settings["top_k"],
        options=lambda w: runs[w.run].influence.options_of(runs[w.run].maps.method),
        code=code("map_influence", "method"),
    script:
        "../scripts/map_influence.py"


rule plot_influence_maps:
    input:
        table="<run>/tables/influence_maps.parquet",
        queries="<run>/queries/queries.parquet",
        samples=lambda w: runs[w.run].model.dataset.train,
    output:
        figure(
            "influence_maps",
            "influence_maps",
            "Influence maps",
            figure="influence maps",
            run="{run}",
        ),
    log:
        "<logs>/plot_influence_maps/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_influence_maps"),
    script:
        "../scripts/plot_influence_maps.py"


rule maps:
    input:
        [run.maps.table for run in tables.mapped],
        [run.figures("influence_maps") for run in tables.mapped],
