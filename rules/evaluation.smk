# Tables.


rule evaluate_detection:
    input:
        tops=lambda w: [
            *runs[w.run].influence.tops,
            *runs[w.run].influence.retrieved(),
            *runs[w.run].influence.lambda_sweeps("held_out/top.parquet"),
        ],
        samples=lambda w: runs[w.run].model.dataset.train,
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
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        code=code("evaluate_detection"),
    script:
        "../scripts/evaluate_detection.py"


rule evaluate_significance:
    input:
        scores=lambda w: runs[w.run].seed_files("scores.npy"),
        descriptions=lambda w: runs[w.run].seed_files("scores.json"),
        tops=lambda w: runs[w.run].influence.tops,
    output:
        report(
            "<run>/tables/significance.csv",
            caption="../report/significance.rst",
            category="Tables",
            labels={"run": "{run}", "table": "significance"},
        ),
    log:
        "<logs>/evaluate_significance/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_significance/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        scored=lambda w: runs[w.run].influence.scored,
        runs=lambda w: runs[w.run].seed_runs,
        lists=lambda w: runs[w.run].list_settings,
        code=code("evaluate_significance"),
    script:
        "../scripts/evaluate_significance.py"


rule evaluate_facets:
    input:
        tops=lambda w: [*runs[w.run].influence.tops, *runs[w.run].influence.retrieved()],
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        report(
            "<run>/tables/facets.csv",
            caption="../report/facets.rst",
            category="Tables",
            labels={"run": "{run}", "table": "detection by facet"},
        ),
    log:
        "<logs>/evaluate_facets/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_facets/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        query_set=lambda w: runs[w.run].queries.settings["source"],
        code=code("evaluate_facets"),
    script:
        "../scripts/evaluate_facets.py"


rule evaluate_retrieval:
    input:
        unpack(lambda w: runs[w.run].influence.retrieval_inputs),
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
        k=lambda w: runs[w.run].evaluation["k"],
        code=code("evaluate_retrieval"),
    script:
        "../scripts/evaluate_retrieval.py"


rule evaluate_norms:
    input:
        shards=lambda w: [
            *runs[w.run].gradients.shards("loss", "train"),
            *runs[w.run].gradients.shards("loss", "queries"),
        ],
        samples=lambda w: runs[w.run].model.dataset.train,
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
        code=code("evaluate_norms"),
    script:
        "../scripts/evaluate_norms.py"


rule evaluate_cost:
    input:
        unpack(lambda w: dmin.stage_metrics(runs[w.run].influence)),
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
        read=lambda w: runs[w.run].influence.read_caches,
        code=code("evaluate_cost"),
    script:
        "../scripts/evaluate_cost.py"


rule evaluate_generation:
    input:
        samples=lambda w: runs[w.run].model.dataset.train,
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
    threads: compute["threads"]
    resources:
        batch=compute["encode_batch"],
    params:
        code=code("evaluate_generation"),
    script:
        "../scripts/evaluate_generation.py"


rule tables:
    input:
        [
            run.table(name)
            for run in runs.values()
            for name in ("retrieval", "cost", "gradient_norms", "hubness", "significance")
        ],
        [
            run.table(name)
            for run in runs.values()
            if run.queries.subsets_known
            for name in ("detection_rate", "generation_quality")
        ],
        [run.table("risk_coverage") for run in runs.values() if run.tells_risk and not run.lds],
        [run.table("facets") for run in runs.values() if run.queries.labelled],
        [run.table("query_labels") for run in runs.values() if run.queries.kind in ("classified", "selected")],
