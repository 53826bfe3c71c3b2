# What a model does without the images that an audit flags, without random ones, and without what was planted.


rule choose_audited_removals:
    input:
        samples="<run>/audit/samples.csv",
        held_out="<run>/audit/held_out.csv",
        planted=lambda w: runs[w.run].audit.consequence.planted,
    output:
        "<run>/audit/consequence/removed.parquet",
    log:
        "<logs>/choose_audited_removals/{run}.log",
    benchmark:
        "<benchmarks>/choose_audited_removals/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        fdr=lambda w: runs[w.run].audit.settings["fdr"],
        settings=lambda w: runs[w.run].audit.consequence.choice_settings,
        code=code("choose_audited_removals"),
    script:
        "../scripts/choose_audited_removals.py"


use rule retrain_without as retrain_audited with:
    input:
        samples=lambda w: runs[w.run].model.samples,
        sets="<run>/audit/consequence/removed.parquet",
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        directory("<run>/audit/consequence/models/{range}"),
    log:
        "<logs>/retrain_audited/{run}/{range}.log",
    benchmark:
        "<benchmarks>/retrain_audited/{run}/{range}.tsv"
    params:
        model=lambda w: runs[w.run].audit.consequence.model_settings,
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        bank=lambda w: runs[w.run].audit.consequence.bank,
        code=code("retrain_subsets", "family"),


use rule measure_losses as measure_audited_losses with:
    input:
        models="<run>/audit/consequence/models/{range}",
        queries=lambda w: runs[w.run].model.test_samples,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/audit/consequence/losses/{range}.parquet",
    log:
        "<logs>/measure_audited_losses/{run}/{range}.log",
    benchmark:
        "<benchmarks>/measure_audited_losses/{run}/{range}.tsv"
    params:
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        finetune=lambda w: runs[w.run].model.settings["finetune"],
        bank=lambda w: runs[w.run].audit.consequence.bank,
        lds=lambda w: runs[w.run].audit.consequence.loss_settings,
        code=code("measure_losses", "family"),


use rule regenerate as regenerate_audited with:
    input:
        models="<run>/audit/consequence/models/{range}",
        removed="<run>/audit/consequence/removed.parquet",
        images="<run>/queries/queries.parquet",
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/audit/consequence/images/{range}.parquet",
    log:
        "<logs>/regenerate_audited/{run}/{range}.log",
    benchmark:
        "<benchmarks>/regenerate_audited/{run}/{range}.tsv"
    params:
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        finetune=lambda w: runs[w.run].model.settings["finetune"],
        bank=lambda w: runs[w.run].audit.consequence.bank,
        sampling=lambda w: runs[w.run].audit.consequence.sampling_settings,
        code=code("regenerate", "family"),


rule evaluate_audit_consequence:
    input:
        removed="<run>/audit/consequence/removed.parquet",
        losses=lambda w: runs[w.run].audit.consequence.losses,
        images=lambda w: runs[w.run].audit.consequence.images,
        queries="<run>/queries/queries.parquet",
        held_out=lambda w: runs[w.run].model.dataset.test,
        features=lambda w: runs[w.run].audit.consequence.features,
    output:
        report(
            "<run>/tables/audit_consequence.csv",
            caption="../report/audit_consequence.rst",
            category="Audit",
            labels={"run": "{run}", "table": "without flagged images"},
        ),
    log:
        "<logs>/evaluate_audit_consequence/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_audit_consequence/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    resources:
        batch=compute["encode_batch"],
    params:
        settings=lambda w: runs[w.run].audit.consequence.table_settings,
        code=code("evaluate_audit_consequence"),
    script:
        "../scripts/evaluate_audit_consequence.py"
