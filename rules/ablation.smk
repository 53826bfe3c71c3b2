# Studies of the methods, the index and compression that need no pass of the model; target ablations.


rule evaluate_hubness:
    input:
        tops=lambda w: exact_tops(w.run),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
    output:
        report(
            "<run>/tables/hubness.csv",
            caption="../report/hubness.rst",
            category="Tables",
            labels={"run": "{run}", "table": "generally influential images"},
        ),
    log:
        "<logs>/evaluate_hubness/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_hubness/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        evaluation=section("runs", "{run}", "evaluation"),
        code=code_digest("evaluate_hubness"),
    script:
        "../scripts/evaluate_hubness.py"


rule plot_hubness:
    input:
        "<run>/tables/hubness.csv",
    output:
        figure(
            "hubness",
            "hubness",
            "Ablations",
            figure="generally influential images",
            run="{run}",
        ),
    log:
        "<logs>/plot_hubness/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_hubness"),
    script:
        "../scripts/plot_hubness.py"


rule evaluate_cost_summary:
    input:
        unpack(metrics_of),
    output:
        table=report(
            "<run>/tables/cost_summary.csv",
            caption="../report/cost_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "cost of each method"},
        ),
        page="<run>/tables/cost_summary.md",
    log:
        "<logs>/evaluate_cost_summary/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_cost_summary/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        stages=["cache", "query", "compress", "index", "score", "retrieve"],
        code=code_digest("evaluate_cost_summary"),
    script:
        "../scripts/evaluate_cost_summary.py"


rule ablations:
    input:
        [
            f"<results>/runs/{run}/{name}"
            for run in config["runs"]
            for name in ["figures/hubness.svg", "figures/hubness.png", "tables/cost_summary.csv"]
        ],
