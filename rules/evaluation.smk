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
    conda:
        "../envs/dmin.yaml"
    params:
        evaluation=section("runs", "{run}", "evaluation"),
        code=code_digest("evaluate_detection"),
    script:
        "../scripts/evaluate_detection.py"


rule evaluate_retrieval:
    input:
        found=lambda w: retrieved_tops(w.run),
        exact=lambda w: retrieved_tops(w.run, "exact"),
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
    conda:
        "../envs/dmin.yaml"
    params:
        k=lambda w: run_of(w)["evaluation"]["k"],
        code=code_digest("evaluate_retrieval"),
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
    conda:
        "../envs/dmin.yaml"
    params:
        code=code_digest("evaluate_norms"),
    script:
        "../scripts/evaluate_norms.py"


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
    conda:
        "../envs/dmin.yaml"
    params:
        stages=["cache", "query", "compress", "index", "score", "retrieve"],
        read=lambda w: canonical(read_caches(run_of(w))),
        code=code_digest("evaluate_cost"),
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
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        batch=config["compute"]["encode_batch"],
    params:
        code=code_digest("evaluate_generation"),
    script:
        "../scripts/evaluate_generation.py"


rule tables:
    input:
        expand(
            "<results>/runs/{run}/tables/{table}.csv",
            run=config["runs"],
            table=["retrieval", "cost", "gradient_norms", "hubness"],
        ),
        [
            f"<results>/runs/{run}/tables/{table}.csv"
            for run, settings in config["runs"].items()
            if subsets_known(settings)
            for table in ("detection_rate", "generation_quality")
        ],
        [
            f"<results>/runs/{run}/tables/query_labels.csv"
            for run, settings in config["runs"].items()
            if query_kind(settings) in ("classified", "selected")
        ],
