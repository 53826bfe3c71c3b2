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
        figures=figure_settings(),
        code=code_digest("plot_detection"),
    script:
        "../scripts/plot_detection.py"


rule plot_scores:
    input:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
        figures=figure_settings(),
        code=code_digest("plot_scores"),
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
        figures=figure_settings(),
        code=code_digest("plot_norms"),
    script:
        "../scripts/plot_norms.py"


rule plot_training:
    input:
        lambda w: f"<results>/models/{run_of(w)['model']}/training.csv",
    output:
        figure("training", "training", "Model", figure="training loss", run="{run}"),
    log:
        "<logs>/plot_training/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_training"),
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
        figures=figure_settings(),
        code=code_digest("plot_retrieval"),
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
        figures=figure_settings(),
        code=code_digest("plot_queries"),
    script:
        "../scripts/plot_queries.py"


rule plot_gallery:
    input:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings("gallery"),
        code=code_digest("plot_gallery"),
    script:
        "../scripts/plot_gallery.py"


rule figures:
    input:
        [
            f"<results>/runs/{run}/figures/{name}.{suffix}"
            for run, settings in config["runs"].items()
            for name in [
                *(["detection_by_k", "detection_by_v"] if subsets_known(settings) else []),
                "gradient_norms",
                # The training of a user's own model is not known.
                *([] if config["models"][settings["model"]]["weights"] else ["training"]),
                "queries",
                *(["retrieval"] if "dmin" in settings["influence"]["methods"] else []),
                *(f"scores/{method}-v{shown_width(run, method)}" for method in gradient_methods(settings)),
                *(
                    f"gallery/{method}-v{shown_width(run, method)}/{subset}"
                    for method in gradient_methods(settings)[:1]
                    # What is selected may lack a subset.
                    if query_kind(settings) != "selected"
                    for subset in query_subsets(settings)
                ),
            ]
            for suffix in ("svg", "png")
        ],


rule explorer:
    input:
        tops=lambda w: list(rankings(w.run).values()),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
        labels=lambda w: list(rankings(w.run)),
        notes=lambda w: explorer_notes(run_of(w)),
        top=config["figures"]["explorer_top"],
        code=code_digest("explorer"),
    script:
        "../scripts/explorer.py"


rule explorers:
    input:
        expand("<results>/runs/{run}/explorer.html", run=config["runs"]),
