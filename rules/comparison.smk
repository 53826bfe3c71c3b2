# What sets methods side by side: the main table, their agreement, and one query under all of them.


rule evaluate_agreement:
    input:
        scores=lambda w: [f"{folder}/scores.npy" for folder in shown_folders(w.run).values()],
        descriptions=lambda w: [f"{folder}/scores.json" for folder in shown_folders(w.run).values()],
    output:
        report(
            "<run>/tables/rank_agreement.csv",
            caption="../report/rank_agreement.rst",
            category="Tables",
            labels={"run": "{run}", "table": "rank agreement"},
        ),
    log:
        "<logs>/evaluate_agreement/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_agreement/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        methods=lambda w: list(shown_folders(w.run)),
        evaluation=section("runs", "{run}", "evaluation"),
        code=code_digest("evaluate_agreement"),
    script:
        "../scripts/evaluate_agreement.py"


rule plot_agreement:
    input:
        "<run>/tables/rank_agreement.csv",
    output:
        figure(
            "rank_agreement",
            "rank_agreement",
            "Comparison",
            figure="rank agreement",
            run="{run}",
        ),
    log:
        "<logs>/plot_agreement/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_agreement"),
    script:
        "../scripts/plot_agreement.py"


rule plot_main_table:
    input:
        "<run>/tables/detection_rate.csv",
    output:
        figure("main_table", "main_table", "Comparison", figure="main table", run="{run}"),
    log:
        "<logs>/plot_main_table/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        options=lambda w: {"encoder": run_of(w)["influence"]["options"]["encoder"]},
        code=code_digest("plot_main_table"),
    script:
        "../scripts/plot_main_table.py"


rule plot_methods:
    input:
        tops=lambda w: list(shown_tops(w.run).values()),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        queries="<run>/queries/queries.parquet",
    output:
        figure(
            "methods/{subset}",
            "methods",
            "Comparison",
            figure="all methods",
            subset="{subset}",
            run="{run}",
        ),
    log:
        "<logs>/plot_methods/{run}/{subset}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        methods=lambda w: list(shown_tops(w.run)),
        figures=figure_settings("gallery"),
        code=code_digest("plot_methods"),
    script:
        "../scripts/plot_methods.py"


rule comparison:
    input:
        [
            f"<results>/runs/{run}/figures/{name}.{suffix}"
            for run, settings in config["runs"].items()
            for name in [
                *(["main_table"] if subsets_known(settings) else []),
                "rank_agreement",
                *(f"methods/{subset}" for subset in query_subsets(settings)),
            ]
            for suffix in ("svg", "png")
        ],
