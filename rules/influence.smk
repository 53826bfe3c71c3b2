# Scores, the HNSW index, and retrieval.


rule score:
    input:
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
        mem_mb=lambda w: dmin.scoring_mb(runs[w.run].gradients, w.method, w.v),
    params:
        top_k=lambda w: runs[w.run].influence.settings["top_k"],
        options=lambda w: runs[w.run].influence.options,
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
        mem_mb=lambda w: dmin.scoring_mb(runs[w.run].gradients, w.method, w.v),
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
        options=lambda w: runs[w.run].influence.options,
        encoder_contents=contents.encoder,
        code=code("score_samples", "method"),
    script:
        "../scripts/score_samples.py"


rule build_index:
    input:
        "<run>/sketch/loss/v{v}/train.npy",
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
        mem_mb=lambda w: dmin.index_mb(runs[w.run].gradients, w.v, int(w.M)),
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
        queries="<run>/sketch/loss/v{v}/queries.npy",
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        top="<run>/influence/dmin/v{v}/hnsw/top.parquet",
        metrics="<run>/influence/dmin/v{v}/hnsw/retrieval.metrics.json",
    log:
        "<logs>/retrieve/{run}/v{v}.log",
    benchmark:
        "<benchmarks>/retrieve/{run}/v{v}.tsv"
    wildcard_constraints:
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    resources:
        mem_mb=lambda w: dmin.index_mb(runs[w.run].gradients, w.v, runs[w.run].influence.settings["hnsw"]["M"]),
    params:
        settings=lambda w: runs[w.run].influence.retrieval_settings,
        code=code("retrieve"),
    script:
        "../scripts/retrieve.py"


# The lists for people. A rule of its own, so that another caption or file name scores nothing again.
rule write_ranking:
    input:
        top="<run>/influence/{ranked}/top.parquet",
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        csv="<run>/influence/{ranked}/ranking.csv",
        json="<run>/influence/{ranked}/ranking.json",
    log:
        "<logs>/write_ranking/{run}/{ranked}.log",
    benchmark:
        "<benchmarks>/write_ranking/{run}/{ranked}.tsv"
    wildcard_constraints:
        ranked=r"[a-z_]+(/v(\d+|full)/(exact|hnsw))?",
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("write_ranking"),
    script:
        "../scripts/write_ranking.py"


rule rankings:
    input:
        [run.influence.rankings for run in runs.values()],


rule influence:
    input:
        [run.influence.tops + run.influence.retrieved() for run in runs.values()],
