# Scores, the HNSW index, and retrieval.


rule score:
    input:
        train=lambda w: gradients_at(w, "train"),
        queries=lambda w: gradients_at(w, "queries"),
        train_norms=lambda w: shards(w.run, feature_of(w.method, "train"), "train"),
        query_norms=lambda w: shards(w.run, feature_of(w.method, "queries"), "queries"),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
        method="|".join(GRADIENT_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        top_k=lambda w: run_of(w)["influence"]["top_k"],
        options=section("runs", "{run}", "influence", "options"),
        code=code_digest("score"),
    script:
        "../scripts/score.py"


rule score_checkpoints:
    input:
        train=lambda w: checkpoint_sketches(w, "train"),
        queries=lambda w: checkpoint_sketches(w, "queries"),
        train_norms=lambda w: checkpoint_shards(w, "train"),
        query_norms=lambda w: checkpoint_shards(w, "queries"),
        checkpoints=lambda w: f"<results>/models/{run_of(w)['model']}/checkpoints",
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
        method="|".join(CHECKPOINT_METHODS),
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        top_k=lambda w: run_of(w)["influence"]["top_k"],
        train=lambda w: canonical(config["models"][run_of(w)["model"]]["train"]),
        code=code_digest("score_checkpoints"),
    script:
        "../scripts/score_checkpoints.py"


rule score_samples:
    input:
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
        method="|".join(SAMPLE_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=lambda w: gpus() if w.method in DEVICE_METHODS else 0,
        device=config["compute"]["device"],
        batch=config["compute"]["encode_batch"],
    params:
        top_k=lambda w: run_of(w)["influence"]["top_k"],
        options=section("runs", "{run}", "influence", "options"),
        code=code_digest("score_samples"),
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
    params:
        seed=lambda w: run_of(w)["influence"]["hnsw"]["seed"],
        code=code_digest("build_index"),
    script:
        "../scripts/build_index.py"


rule indexes:
    input:
        [index_of(run, v) for run, settings in config["runs"].items() for v in settings["influence"]["widths"]],


rule retrieve:
    input:
        index=lambda w: index_of(w.run, w.v),
        index_description=lambda w: index_of(w.run, w.v).replace(".hnsw", ".json"),
        queries="<run>/sketch/loss/v{v}/queries.npy",
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
    params:
        settings=lambda w: canonical(
            {"ef": run_of(w)["influence"]["hnsw"]["ef"], "top_k": run_of(w)["influence"]["top_k"]}
        ),
        code=code_digest("retrieve"),
    script:
        "../scripts/retrieve.py"


rule influence:
    input:
        [exact_tops(run) + retrieved_tops(run) for run in config["runs"]],
