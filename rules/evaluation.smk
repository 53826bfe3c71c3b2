# Tables.


rule evaluate_detection:
    input:
        tops=lambda w: exact_tops(w.run) + retrieved_tops(w.run),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
    output:
        report(
            "<run>/tables/detection_rate.csv",
            caption="../report/detection_rate_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "detection rate"},
        ),
    log:
        "<logs>/evaluate_detection/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_detection/{run}.tsv"
    params:
        evaluation=section("runs", "{run}", "evaluation"),
        code=code_digest("evaluate_detection"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/evaluate_detection.py"


rule evaluate_retrieval:
    input:
        retrievals=lambda w: [path.replace("top.parquet", "retrieval.metrics.json") for path in retrieved_tops(w.run)],
        indexes=lambda w: [
            index_of(w.run, v).replace(".hnsw", ".metrics.json") for v in sorted(run_of(w)["influence"]["widths"])
        ],
    output:
        report(
            "<run>/tables/retrieval.csv",
            caption="../report/retrieval.rst",
            category="Tables",
            labels={"run": "{run}", "table": "retrieval"},
        ),
    log:
        "<logs>/evaluate_retrieval/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_retrieval/{run}.tsv"
    params:
        code=code_digest("evaluate_retrieval"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/evaluate_retrieval.py"


rule evaluate_norms:
    input:
        shards=lambda w: shards(w.run, "loss", "train") + shards(w.run, "loss", "queries"),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        queries="<run>/queries/queries.parquet",
    output:
        "<run>/tables/gradient_norms.csv",
    log:
        "<logs>/evaluate_norms/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_norms/{run}.tsv"
    params:
        code=code_digest("evaluate_norms"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/evaluate_norms.py"


def metrics_of(wildcards):
    """Every metrics file of a run, by the stage that wrote it."""
    run, settings = wildcards.run, run_of(wildcards)
    root = f"<results>/runs/{run}"
    compressed = [str(width) for width in sorted(settings["influence"]["widths"])]
    return {
        "cache": [path.replace(".safetensors", ".metrics.json") for path in shards(run, "loss", "train")],
        "query": [path.replace(".safetensors", ".metrics.json") for path in shards(run, "loss", "queries")],
        "compress": [f"{root}/sketch/loss/v{v}/train.metrics.json" for v in compressed],
        "index": [index_of(run, v).replace(".hnsw", ".metrics.json") for v in compressed],
        "score": [path.replace("exact/top.parquet", "scores.metrics.json") for path in exact_tops(run)],
        "retrieve": [path.replace("top.parquet", "retrieval.metrics.json") for path in retrieved_tops(run)],
    }


rule evaluate_cost:
    input:
        unpack(metrics_of),
    output:
        report(
            "<run>/tables/cost.csv",
            caption="../report/cost_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "cost"},
        ),
    log:
        "<logs>/evaluate_cost/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_cost/{run}.tsv"
    params:
        stages=["cache", "query", "compress", "index", "score", "retrieve"],
        code=code_digest("evaluate_cost"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/evaluate_cost.py"


rule evaluate_generation:
    input:
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        queries="<run>/queries/queries.parquet",
    output:
        report(
            "<run>/tables/generation_quality.csv",
            caption="../report/generation_quality.rst",
            category="Tables",
            labels={"run": "{run}", "table": "generation quality"},
        ),
    log:
        "<logs>/evaluate_generation/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_generation/{run}.tsv"
    params:
        code=code_digest("evaluate_generation"),
    threads: config["compute"]["threads"]
    resources:
        batch=config["compute"]["encode_batch"],
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/evaluate_generation.py"


rule tables:
    input:
        expand(
            "<results>/runs/{run}/tables/{table}.csv",
            run=config["runs"],
            table=["detection_rate", "retrieval", "cost", "gradient_norms", "generation_quality"],
        ),
