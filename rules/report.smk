# Figures and the explorer.


rule plot_detection:
    input:
        "<run>/tables/detection_rate.csv",
    output:
        by_k=figure(
            "detection_by_k",
            "detection_by_k",
            "Detection rate",
            figure="against k",
            run="{run}",
        ),
        by_v=figure(
            "detection_by_v",
            "detection_by_v",
            "Detection rate",
            figure="against v",
            run="{run}",
        ),
    log:
        "<logs>/plot_detection/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_detection", "looks"),
    script:
        "../scripts/plot_detection.py"


rule plot_scores:
    input:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        figure(
            "scores/{method}-v{v}",
            "scores",
            "Scores",
            figure="{method}, v={v}",
            run="{run}",
        ),
    log:
        "<logs>/plot_scores/{run}/{method}-v{v}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        subsets_known=lambda w: runs[w.run].queries.subsets_known,
        code=code("plot_scores", "look"),
    script:
        "../scripts/plot_scores.py"


rule plot_norms:
    input:
        "<run>/tables/gradient_norms.csv",
    output:
        figure(
            "gradient_norms",
            "norms",
            "Gradients",
            figure="norm by timestep",
            run="{run}",
        ),
    log:
        "<logs>/plot_norms/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_norms"),
    script:
        "../scripts/plot_norms.py"


rule plot_training:
    input:
        lambda w: runs[w.run].model.training_curve,
    output:
        figure("training", "training", "Model", figure="training loss", run="{run}"),
    log:
        "<logs>/plot_training/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_training"),
    script:
        "../scripts/plot_training.py"


rule plot_retrieval:
    input:
        "<run>/tables/retrieval.csv",
    output:
        figure(
            "retrieval",
            "retrieval",
            "Retrieval",
            figure="HNSW against exact",
            run="{run}",
        ),
    log:
        "<logs>/plot_retrieval/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_retrieval"),
    script:
        "../scripts/plot_retrieval.py"


rule plot_queries:
    input:
        "<run>/queries/queries.parquet",
    output:
        figure("queries", "generation", "Model", figure="generated images", run="{run}"),
    log:
        "<logs>/plot_queries/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        subsets_known=lambda w: runs[w.run].queries.subsets_known,
        code=code("plot_queries"),
    script:
        "../scripts/plot_queries.py"


rule plot_gallery:
    input:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        figure(
            "gallery/{method}-v{v}/{subset}",
            "gallery",
            "Galleries",
            subset="{subset}",
            method="{method}, v={v}",
            run="{run}",
        ),
    log:
        "<logs>/plot_gallery/{run}/{method}-v{v}/{subset}.log",
    # The first answer that a user sees: with what leads to it, ahead of tables and other figures.
    priority: 3
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings("gallery"),
        subsets_known=lambda w: runs[w.run].queries.subsets_known,
        code=code("plot_gallery", "look"),
    script:
        "../scripts/plot_gallery.py"


rule figures:
    input:
        [run.figures(*dmin.drawn_figures(run)) for run in runs.values()],


rule explorer:
    input:
        unpack(lambda w: dmin.explored(runs[w.run], games.values())),
        tops=lambda w: list(dmin.labelled_tops(runs[w.run]).values()),
        scores=lambda w: list(dmin.labelled_scores(runs[w.run]).values()),
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        report(
            "<run>/explorer.html",
            caption="../report/explorer.rst",
            category="Explorer",
            labels={"run": "{run}", "page": "explorer"},
        ),
    log:
        "<logs>/explorer/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        labels=lambda w: list(dmin.labelled_tops(runs[w.run])),
        notes=lambda w: dmin.page_text(dmin.explorer_notes(runs[w.run])),
        games=lambda w: dmin.page_text(dmin.told_games(runs[w.run], games.values())),
        top=tables.config["figures"]["explorer_top"],
        confidence=lambda w: runs[w.run].evaluation["confidence"],
        subsets_known=lambda w: runs[w.run].queries.subsets_known,
        code=code("explorer", "contributors"),
    script:
        "../scripts/explorer.py"


rule explorers:
    input:
        expand("<results>/runs/{run}/explorer.html", run=runs),


# The same of all training images, however many: a folder that opens by its index.html.
use rule explorer as explorer_folder with:
    output:
        directory("<run>/explorer_folder"),
    log:
        "<logs>/explorer_folder/{run}.log",


rule explorer_folders:
    input:
        expand("<results>/runs/{run}/explorer_folder", run=runs),
