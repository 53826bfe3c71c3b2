# What sets methods side by side: the main table, their agreement, and one query under all of them.


rule evaluate_agreement:
    input:
        scores=lambda w: runs[w.run].influence.shown_files("scores.npy"),
        descriptions=lambda w: runs[w.run].influence.shown_files("scores.json"),
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
        methods=lambda w: runs[w.run].influence.methods,
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        code=code("evaluate_agreement"),
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
        figures=tables.figure_settings(),
        code=code("plot_agreement", "looks"),
    script:
        "../scripts/plot_agreement.py"


rule plot_main_table:
    input:
        "<run>/tables/detection_rate.csv",
    output:
        mean=figure(
            "main_table",
            "main_table",
            "Comparison",
            figure="main table",
            run="{run}",
        ),
        subsets=figure(
            "main_table_subsets",
            "main_table",
            "Comparison",
            figure="main table, by subset",
            run="{run}",
        ),
    log:
        "<logs>/plot_main_table/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        options=lambda w: dmin.page_text(dmin.pick(runs[w.run].influence.options, "encoder")),
        code=code("plot_main_table", "looks"),
    script:
        "../scripts/plot_main_table.py"


rule plot_methods:
    input:
        tops=lambda w: runs[w.run].influence.shown_tops,
        samples=lambda w: runs[w.run].model.dataset.train,
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
        methods=lambda w: runs[w.run].influence.methods,
        figures=tables.figure_settings("gallery"),
        subsets_known=lambda w: runs[w.run].queries.subsets_known,
        code=code("plot_methods", "looks"),
    script:
        "../scripts/plot_methods.py"


rule comparison:
    input:
        [run.figures(*dmin.comparing_figures(run)) for run in runs.values()],
