# What a model generates once training samples are removed: counterfactual removal, and the study of stroke thickness.


# A checkpoint: what is trained without the chosen samples is looked at again once they are written, and stays where they
# are the same ones. Lists of another length, or another false discovery rate, write all scores anew.
checkpoint choose_removals:
    input:
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
        scores=lambda w: runs[w.run].studies[w.study].scores(w.removal),
        descriptions=lambda w: runs[w.run].studies[w.study].scores(w.removal, "scores.json"),
    output:
        "<run>/{study}/{removal}/removed.parquet",
    log:
        "<logs>/choose_removals/{run}/{study}/{removal}.log",
    benchmark:
        "<benchmarks>/choose_removals/{run}/{study}/{removal}.tsv"
    wildcard_constraints:
        study="removal|deletion",
    conda:
        "../envs/dmin.yaml"
    params:
        settings=lambda w: runs[w.run].studies[w.study].choice_settings(w.removal),
        code=code("choose_removals"),
    script:
        "../scripts/choose_removals.py"


checkpoint choose_thickness_removals:
    input:
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
        scores=lambda w: runs[w.run].studies["thickness"].scores(w.removal),
        descriptions=lambda w: runs[w.run].studies["thickness"].scores(w.removal, "scores.json"),
        reference=lambda w: runs[w.run].studies["thickness"].reference(w.removal),
    output:
        "<run>/thickness/{removal}/removed.parquet",
    log:
        "<logs>/choose_thickness_removals/{run}/{removal}.log",
    benchmark:
        "<benchmarks>/choose_thickness_removals/{run}/{removal}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        settings=lambda w: runs[w.run].studies["thickness"].choice_settings(w.removal),
        code=code("choose_thickness_removals"),
    script:
        "../scripts/choose_thickness_removals.py"


rule retrain_without:
    input:
        samples=lambda w: runs[w.run].model.samples,
        sets=lambda w: dmin.removed_by(checkpoints, w.run, w.study, w.removal),
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        directory("<run>/{study}/{removal}/models/{range}"),
    log:
        "<logs>/retrain_without/{run}/{study}/{removal}/{range}.log",
    benchmark:
        "<benchmarks>/retrain_without/{run}/{study}/{removal}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base, copies=5),
        gpu=tables.gpus,
        device=compute["device"],
        save_every=compute["save_every"],
    params:
        model=lambda w: runs[w.run].model.retraining,
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        bank=lambda w: runs[w.run].studies[w.study].training_settings(w.removal, w.range),
        code=code("retrain_subsets", "family"),
    script:
        "../scripts/retrain_subsets.py"


rule regenerate:
    input:
        models="<run>/{study}/{removal}/models/{range}",
        removed=lambda w: dmin.removed_by(checkpoints, w.run, w.study, w.removal),
        images=lambda w: runs[w.run].studies[w.study].originals,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/{study}/{removal}/images/{range}.parquet",
    log:
        "<logs>/regenerate/{run}/{study}/{removal}/{range}.log",
    benchmark:
        "<benchmarks>/regenerate/{run}/{study}/{removal}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["sample_batch"],
    params:
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        finetune=lambda w: runs[w.run].model.settings["finetune"],
        bank=lambda w: runs[w.run].studies[w.study].range_settings(w.removal, w.range),
        sampling=lambda w: runs[w.run].studies[w.study].sampling_settings,
        code=code("regenerate", "family"),
    script:
        "../scripts/regenerate.py"


rule evaluate_removal:
    input:
        images=lambda w: runs[w.run].studies["removal"].images,
        queries="<run>/queries/queries.parquet",
    output:
        table="<run>/tables/removal.csv",
        summary=report(
            "<run>/tables/removal_summary.csv",
            caption="../report/removal_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "counterfactual removal"},
        ),
    log:
        "<logs>/evaluate_removal/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_removal/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    resources:
        batch=compute["encode_batch"],
    params:
        removals=lambda w: runs[w.run].studies["removal"].removal_of_ranges,
        widths=lambda w: runs[w.run].studies["removal"].widths,
        settings=lambda w: runs[w.run].studies["removal"].table_settings,
        code=code("evaluate_removal"),
    script:
        "../scripts/evaluate_removal.py"


rule plot_removal:
    input:
        "<run>/tables/removal_summary.csv",
    output:
        figure(
            "removal",
            "removal",
            "Counterfactual removal",
            figure="distances",
            run="{run}",
        ),
    log:
        "<logs>/plot_removal/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_removal", "looks"),
    script:
        "../scripts/plot_removal.py"


rule plot_removal_images:
    input:
        images=lambda w: runs[w.run].studies["removal"].images,
        queries="<run>/queries/queries.parquet",
    output:
        figure(
            "removal_images",
            "removal_images",
            "Counterfactual removal",
            figure="images",
            run="{run}",
        ),
    log:
        "<logs>/plot_removal_images/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        removals=lambda w: runs[w.run].studies["removal"].removal_of_ranges,
        figures=tables.figure_settings(),
        code=code("plot_removal_images", "looks"),
    script:
        "../scripts/plot_removal_images.py"


rule removal:
    input:
        [run.table("removal_summary") for run in tables.studied("removal")],
        [run.figures("removal", "removal_images") for run in tables.studied("removal")],


rule evaluate_thickness:
    input:
        images=lambda w: runs[w.run].studies["thickness"].images,
        removed=lambda w: runs[w.run].studies["thickness"].removed,
        samples=lambda w: runs[w.run].model.dataset.train,
        classifier=ancient(lambda w: runs[w.run].queries.classifier["path"]),
    output:
        table=report(
            "<run>/tables/thickness.csv",
            caption="../report/thickness_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "stroke thickness"},
        ),
        removed=report(
            "<run>/tables/thickness_removed.csv",
            caption="../report/thickness_removed.rst",
            category="Tables",
            labels={"run": "{run}", "table": "removed digits"},
        ),
        values="<run>/thickness/values.parquet",
    log:
        "<logs>/evaluate_thickness/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_thickness/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        removals=lambda w: runs[w.run].studies["thickness"].removal_of_ranges,
        removed=lambda w: runs[w.run].studies["thickness"].removals,
        widths=lambda w: runs[w.run].studies["thickness"].widths,
        settings=lambda w: runs[w.run].studies["thickness"].table_settings,
        classifier_contents=contents.classifier,
        code=code("evaluate_thickness"),
    script:
        "../scripts/evaluate_thickness.py"


rule plot_thickness:
    input:
        table="<run>/tables/thickness.csv",
        values="<run>/thickness/values.parquet",
    output:
        figure("thickness", "thickness", "Stroke thickness", figure="shift", run="{run}"),
    log:
        "<logs>/plot_thickness/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_thickness", "looks"),
    script:
        "../scripts/plot_thickness.py"


rule plot_thickness_images:
    input:
        images=lambda w: runs[w.run].studies["thickness"].images,
        queries="<run>/queries/candidates.parquet",
    output:
        figure(
            "thickness_images",
            "thickness_images",
            "Stroke thickness",
            figure="images",
            run="{run}",
        ),
    log:
        "<logs>/plot_thickness_images/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        removals=lambda w: runs[w.run].studies["thickness"].removal_of_ranges,
        figures=tables.figure_settings(),
        code=code("plot_thickness_images", "looks"),
    script:
        "../scripts/plot_thickness_images.py"


rule thickness:
    input:
        [run.table(name) for run in tables.studied("thickness") for name in ("thickness", "thickness_removed")],
        [run.figures("thickness", "thickness_images") for run in tables.studied("thickness")],
