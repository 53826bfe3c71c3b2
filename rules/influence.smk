# Scores, the HNSW index, and retrieval.


rule score:
    input:
        unpack(lambda w: runs[w.run].held_out.scored(w.method, w.v)),
        train=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "train"),
        queries=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "queries"),
        train_norms=lambda w: runs[w.run].influence.shards(w.method, "train"),
        query_norms=lambda w: runs[w.run].influence.shards(w.method, "queries"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        top="<run>/influence/{method}/v{v}/exact/top.parquet",
        metrics="<run>/influence/{method}/v{v}/scores.metrics.json",
    log:
        "<logs>/score/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/score/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.GRADIENT_METHODS),
    # On the way to the galleries.
    priority: 2
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


rule score_checkpoints:
    input:
        train=lambda w: runs[w.run].gradients.checkpoint_sketches(w.v, "train"),
        queries=lambda w: runs[w.run].gradients.checkpoint_sketches(w.v, "queries"),
        train_norms=lambda w: runs[w.run].gradients.checkpoint_shards("train"),
        query_norms=lambda w: runs[w.run].gradients.checkpoint_shards("queries"),
        checkpoints=lambda w: runs[w.run].model.checkpoints,
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        top="<run>/influence/{method}/v{v}/exact/top.parquet",
        metrics="<run>/influence/{method}/v{v}/scores.metrics.json",
    log:
        "<logs>/score_checkpoints/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/score_checkpoints/{run}/{method}/v{v}.tsv"
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


rule score_samples:
    input:
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/{method}/scores.npy",
        description="<run>/influence/{method}/scores.json",
        top="<run>/influence/{method}/top.parquet",
        metrics="<run>/influence/{method}/scores.metrics.json",
    log:
        "<logs>/score_samples/{run}/{method}.log",
    benchmark:
        "<benchmarks>/score_samples/{run}/{method}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.SAMPLE_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        gpu=lambda w: tables.gpus if dmin.METHODS[w.method].device else 0,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        top_k=lambda w: runs[w.run].influence.settings["top_k"],
        options=lambda w: runs[w.run].influence.options_of(w.method),
        encoder_contents=contents.encoder,
        code=code("score_samples", "method"),
    script:
        "../scripts/score_samples.py"


rule score_mixture:
    input:
        scores=lambda w: runs[w.run].influence.part_scores(w.method, w.v),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        top="<run>/influence/{method}/v{v}/exact/top.parquet",
        metrics="<run>/influence/{method}/v{v}/scores.metrics.json",
    log:
        "<logs>/score_mixture/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/score_mixture/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.MIXED_METHODS),
    conda:
        "../envs/dmin.yaml"
    params:
        top_k=lambda w: runs[w.run].influence.settings["top_k"],
        code=code("score_mixture", "method"),
    script:
        "../scripts/score_mixture.py"


rule build_index:
    input:
        lambda w: runs[w.run].influence.indexed_sketch(w.v, "train"),
    output:
        index="<run>/index/v{v}/M{M}-efc{efc}.hnsw",
        description="<run>/index/v{v}/M{M}-efc{efc}.json",
        metrics="<run>/index/v{v}/M{M}-efc{efc}.metrics.json",
    log:
        "<logs>/build_index/{run}/v{v}/M{M}-efc{efc}.log",
    benchmark:
        "<benchmarks>/build_index/{run}/v{v}/M{M}-efc{efc}.tsv"
    wildcard_constraints:
        v=r"\d+",
        M=r"\d+",
        efc=r"\d+",
    conda:
        "../envs/dmin.yaml"
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.index_mb(runs[w.run].gradients, w.v, int(w.M)),
    params:
        seed=lambda w: runs[w.run].influence.settings["hnsw"]["seed"],
        code=code("build_index"),
    script:
        "../scripts/build_index.py"


rule indexes:
    input:
        [run.influence.indexes for run in runs.values()],


rule retrieve:
    input:
        index=lambda w: runs[w.run].influence.index(w.v),
        index_description=lambda w: runs[w.run].influence.index(w.v, ".json"),
        queries=lambda w: runs[w.run].influence.indexed_sketch(w.v, "queries"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        top="<run>/influence/{method}/v{v}/hnsw/top.parquet",
        metrics="<run>/influence/{method}/v{v}/hnsw/retrieval.metrics.json",
    log:
        "<logs>/retrieve/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/retrieve/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.INDEXABLE),
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    resources:
        mem_mb=lambda w, attempt: attempt
        * dmin.index_mb(runs[w.run].gradients, w.v, runs[w.run].influence.settings["hnsw"]["M"]),
    params:
        settings=lambda w: runs[w.run].influence.search_settings("hnsw"),
        code=code("retrieve"),
    script:
        "../scripts/retrieve.py"


rule build_cascade:
    input:
        lambda w: runs[w.run].influence.indexed_sketch(w.v, "train"),
    output:
        index="<run>/index/v{v}/cascade-r{rank}.safetensors",
        description="<run>/index/v{v}/cascade-r{rank}.json",
        metrics="<run>/index/v{v}/cascade-r{rank}.metrics.json",
    log:
        "<logs>/build_cascade/{run}/v{v}/cascade-r{rank}.log",
    benchmark:
        "<benchmarks>/build_cascade/{run}/v{v}/cascade-r{rank}.tsv"
    wildcard_constraints:
        v=r"\d+",
        rank=r"\d+",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.cascade_mb(runs[w.run].gradients, w.v, int(w.rank)),
    params:
        seed=lambda w: runs[w.run].influence.settings["cascade"]["seed"],
        code=code("build_cascade"),
    script:
        "../scripts/build_cascade.py"


rule retrieve_cascade:
    input:
        index=lambda w: runs[w.run].influence.cascade(w.v),
        index_description=lambda w: runs[w.run].influence.cascade(w.v, ".json"),
        sketch=lambda w: runs[w.run].influence.indexed_sketch(w.v, "train"),
        queries=lambda w: runs[w.run].influence.indexed_sketch(w.v, "queries"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        top="<run>/influence/{method}/v{v}/cascade/top.parquet",
        metrics="<run>/influence/{method}/v{v}/cascade/retrieval.metrics.json",
    log:
        "<logs>/retrieve_cascade/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/retrieve_cascade/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.INDEXABLE),
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    resources:
        mem_mb=lambda w, attempt: attempt
        * dmin.cascade_mb(runs[w.run].gradients, w.v, runs[w.run].influence.settings["cascade"]["rank"]),
    params:
        settings=lambda w: runs[w.run].influence.search_settings("cascade"),
        code=code("retrieve_cascade"),
    script:
        "../scripts/retrieve_cascade.py"


rule time_scan:
    input:
        train=lambda w: runs[w.run].influence.indexed_sketch(w.v, "train"),
        queries=lambda w: runs[w.run].influence.indexed_sketch(w.v, "queries"),
    output:
        "<run>/influence/{method}/v{v}/exact/retrieval.metrics.json",
    log:
        "<logs>/time_scan/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/time_scan/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.INDEXABLE),
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    params:
        top_k=lambda w: runs[w.run].influence.settings["top_k"],
        code=code("time_scan"),
    script:
        "../scripts/time_scan.py"


# The lists for people. A rule of its own, so that another caption or file name scores nothing again.
rule write_ranking:
    input:
        top="<run>/influence/{ranked}/top.parquet",
        samples=lambda w: runs[w.run].model.dataset.train,
        queries=lambda w: runs[w.run].regions.asked(w.ranked),
    output:
        csv="<run>/influence/{ranked}/ranking.csv",
        json="<run>/influence/{ranked}/ranking.json",
    log:
        "<logs>/write_ranking/{run}/{ranked}.log",
    benchmark:
        "<benchmarks>/write_ranking/{run}/{ranked}.tsv"
    wildcard_constraints:
        ranked=r"[a-z_]+(/v(\d+|full)/(exact|cascade|hnsw|regions))?",
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("write_ranking"),
    script:
        "../scripts/write_ranking.py"


rule rankings:
    input:
        [run.influence.rankings + run.regions.rankings for run in runs.values()],


rule influence:
    input:
        [run.influence.tops + run.influence.searched for run in runs.values()],
