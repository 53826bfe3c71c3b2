# Figures and the explorer.


def figure(name, caption, category, **labels):
    """The SVG and PNG of a figure; the SVG goes into the report."""
    shown = report(f"<run>/figures/{name}.svg", caption=f"../report/{caption}.rst", category=category, labels=labels)
    return [shown, f"<run>/figures/{name}.png"]


def figure_settings(*keys):
    return canonical({key: config["figures"][key] for key in ("dpi", *keys)})


def shown_width(run):
    """The width whose pictures are shown: 2^12 where there is one, else the largest."""
    available = config["runs"][run]["influence"]["widths"]
    return 4096 if 4096 in available else max(available)


rule plot_detection:
    input:
        "<run>/tables/detection_rate.csv",
    output:
        by_k=figure("detection_by_k", "detection_by_k", "Detection rate", figure="against k", run="{run}"),
        by_v=figure("detection_by_v", "detection_by_v", "Detection rate", figure="against v", run="{run}"),
    log:
        "<logs>/plot_detection/{run}.log",
    params:
        figures=figure_settings(),
        code=code_digest("plot_detection"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/plot_detection.py"


rule plot_scores:
    input:
        scores="<run>/influence/{method}/v{v}/scores.npy",
        description="<run>/influence/{method}/v{v}/scores.json",
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        queries="<run>/queries/queries.parquet",
    output:
        figure("scores/{method}-v{v}", "scores", "Scores", figure="{method}, v={v}", run="{run}"),
    log:
        "<logs>/plot_scores/{run}/{method}-v{v}.log",
    params:
        figures=figure_settings(),
        code=code_digest("plot_scores"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/plot_scores.py"


rule plot_norms:
    input:
        "<run>/tables/gradient_norms.csv",
    output:
        figure("gradient_norms", "norms", "Gradients", figure="norm by timestep", run="{run}"),
    log:
        "<logs>/plot_norms/{run}.log",
    params:
        figures=figure_settings(),
        code=code_digest("plot_norms"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/plot_norms.py"


rule plot_training:
    input:
        lambda w: f"<results>/models/{run_of(w)['model']}/training.csv",
    output:
        figure("training", "training", "Model", figure="training loss", run="{run}"),
    log:
        "<logs>/plot_training/{run}.log",
    params:
        figures=figure_settings(),
        code=code_digest("plot_training"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/plot_training.py"


rule plot_retrieval:
    input:
        "<run>/tables/retrieval.csv",
    output:
        figure("retrieval", "retrieval", "Retrieval", figure="HNSW against exact", run="{run}"),
    log:
        "<logs>/plot_retrieval/{run}.log",
    params:
        figures=figure_settings(),
        code=code_digest("plot_retrieval"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/plot_retrieval.py"


rule plot_queries:
    input:
        "<run>/queries/queries.parquet",
    output:
        figure("queries", "generation", "Model", figure="generated images", run="{run}"),
    log:
        "<logs>/plot_queries/{run}.log",
    params:
        figures=figure_settings(),
        code=code_digest("plot_queries"),
    conda:
        "../envs/dmin.yaml"
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
            "gallery/{method}-v{v}/{subset}", "gallery", "Galleries", subset="{subset}", method="{method}, v={v}", run="{run}"
        ),
    log:
        "<logs>/plot_gallery/{run}/{method}-v{v}/{subset}.log",
    params:
        figures=figure_settings("gallery"),
        code=code_digest("plot_gallery"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/plot_gallery.py"


rule figures:
    input:
        [
            f"<results>/runs/{run}/figures/{name}.{suffix}"
            for run, settings in config["runs"].items()
            for name in [
                "detection_by_k",
                "detection_by_v",
                "gradient_norms",
                "training",
                "queries",
                *(["retrieval"] if "dmin" in settings["influence"]["methods"] else []),
                *(f"scores/{method}-v{shown_width(run)}" for method in settings["influence"]["methods"]),
                *(
                    f"gallery/{settings['influence']['methods'][0]}-v{shown_width(run)}/{source['name']}"
                    for source in dataset_of(settings)["sources"]
                ),
            ]
            for suffix in ("svg", "png")
        ],


def rankings(run):
    """The ranked lists that the explorer shows, by label."""
    settings, width = config["runs"][run], shown_width(run)
    return {
        f"{method}, v={v}": f"<results>/runs/{run}/influence/{method}/v{v}/exact/top.parquet"
        for method in settings["influence"]["methods"]
        for v in [str(width)] + ["full"] * settings["influence"]["uncompressed"]
    }


def explorer_notes(settings):
    """What a reader of the explorer must know about the run."""
    gradients = settings["gradients"]
    timesteps = gradients["timesteps"]
    count = len(timesteps["custom"]) if timesteps["grid"] == "custom" else timesteps["count"]
    return {
        "Model": settings["model"],
        "Parameters": gradients["parameters"],
        "Timesteps": f"{count}, grid {timesteps['grid']}",
        "Noise": gradients["noise"]["policy"],
        "Training images": str(train_count(settings)),
    }


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
    params:
        labels=lambda w: list(rankings(w.run)),
        notes=lambda w: explorer_notes(run_of(w)),
        top=config["figures"]["explorer_top"],
        code=code_digest("explorer"),
    conda:
        "../envs/dmin.yaml"
    script:
        "../scripts/explorer.py"


rule explorers:
    input:
        expand("<results>/runs/{run}/explorer.html", run=config["runs"]),
