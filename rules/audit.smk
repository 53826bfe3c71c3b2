# The audit of a training set: which of its images should be looked at, and why.


rule encode_test:
    input:
        samples=lambda w: datasets[w.dataset].test,
        base=ancient(lambda w: bases[w.base].files),
    output:
        "<results>/encoded/{dataset}/{base}/test.safetensors",
    log:
        "<logs>/encode_test/{dataset}/{base}.log",
    benchmark:
        "<benchmarks>/encode_test/{dataset}/{base}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(bases[w.base]),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        base=lambda w: bases[w.base].settings,
        base_contents=contents.base,
        bucketed=lambda w: datasets[w.dataset].bucket_step is not None,
        code=code("encode_samples", "family"),
    script:
        "../scripts/encode_samples.py"


rule embed_samples:
    input:
        lambda w: getattr(datasets[w.dataset], w.split),
    output:
        "<results>/datasets/{dataset}/features/{split}.safetensors",
    log:
        "<logs>/embed_samples/{dataset}/{split}.log",
    benchmark:
        "<benchmarks>/embed_samples/{dataset}/{split}.tsv"
    wildcard_constraints:
        split="train|test",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        batch=compute["encode_batch"],
    params:
        code=code("embed_samples"),
    script:
        "../scripts/embed_samples.py"


rule measure_sample_losses:
    input:
        table=lambda w: getattr(runs[w.run].model.dataset, w.split),
        encoded=lambda w: runs[w.run].gradients.samples(w.split),
        features=lambda w: runs[w.run].audit.features(w.split),
        train=lambda w: runs[w.run].model.dataset.train,
        train_encoded=lambda w: runs[w.run].model.samples,
        train_features=lambda w: runs[w.run].audit.features("train"),
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/audit/losses/{split}.parquet",
    log:
        "<logs>/measure_sample_losses/{run}/{split}.log",
    benchmark:
        "<benchmarks>/measure_sample_losses/{run}/{split}.tsv"
    wildcard_constraints:
        split="train|test",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["gradient_batch"],
    params:
        losses=lambda w: runs[w.run].audit.loss_settings,
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("measure_sample_losses", "family"),
    script:
        "../scripts/measure_sample_losses.py"


rule measure_caption_similarity:
    input:
        lambda w: getattr(runs[w.run].model.dataset, w.split),
    output:
        "<run>/audit/clip/{split}.parquet",
    log:
        "<logs>/measure_caption_similarity/{run}/{split}.log",
    benchmark:
        "<benchmarks>/measure_caption_similarity/{run}/{split}.tsv"
    wildcard_constraints:
        split="train|test",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        encoder=lambda w: dmin.pick(runs[w.run].influence.options, "encoder", "revision"),
        encoder_contents=contents.audit_encoder,
        code=code("measure_caption_similarity"),
    script:
        "../scripts/measure_caption_similarity.py"


rule audit_samples:
    input:
        unpack(lambda w: runs[w.run].audit.measured()),
        sources=lambda w: runs[w.run].model.dataset.fetched,
    output:
        samples="<run>/audit/samples.csv",
        held_out="<run>/audit/held_out.csv",
    log:
        "<logs>/audit_samples/{run}.log",
    benchmark:
        "<benchmarks>/audit_samples/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt
        * dmin.scoring_mb(runs[w.run].gradients, "dmin_kernel", runs[w.run].audit.width),
    params:
        norms=lambda w: list(runs[w.run].audit.norm_shards()),
        sources=lambda w: runs[w.run].model.dataset.source_names,
        settings=lambda w: runs[w.run].audit.sample_settings,
        code=code("audit_samples"),
    script:
        "../scripts/audit_samples.py"


rule audit_issues:
    input:
        samples="<run>/audit/samples.csv",
        held_out="<run>/audit/held_out.csv",
    output:
        issues=report(
            "<run>/audit/audit.csv",
            caption="../report/audit_issues.rst",
            category="Audit",
            labels={"run": "{run}", "table": "issues"},
        ),
        summary="<run>/audit/audit.json",
        keep="<run>/audit/keep.txt",
        drop="<run>/audit/drop.txt",
    log:
        "<logs>/audit_issues/{run}.log",
    benchmark:
        "<benchmarks>/audit_issues/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        settings=lambda w: runs[w.run].audit.issue_settings,
        code=code("audit_issues"),
    script:
        "../scripts/audit_issues.py"


rule evaluate_audit:
    input:
        samples="<run>/audit/samples.csv",
        held_out="<run>/audit/held_out.csv",
        planted=lambda w: runs[w.run].model.dataset.planted,
    output:
        detection=report(
            "<run>/tables/audit_detection.csv",
            caption="../report/audit_detection.rst",
            category="Audit",
            labels={"run": "{run}", "table": "planted faults"},
        ),
        found="<run>/tables/audit_found.csv",
    log:
        "<logs>/evaluate_audit/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_audit/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        settings=lambda w: dmin.pick(runs[w.run].evaluation, "confidence", "seed"),
        code=code("evaluate_audit"),
    script:
        "../scripts/evaluate_audit.py"


rule evaluate_audit_calibration:
    input:
        samples="<run>/audit/samples.csv",
        held_out="<run>/audit/held_out.csv",
        planted=lambda w: runs[w.run].model.dataset.planted,
    output:
        report(
            "<run>/tables/audit_calibration.csv",
            caption="../report/audit_calibration.rst",
            category="Audit",
            labels={"run": "{run}", "table": "p-values"},
        ),
    log:
        "<logs>/evaluate_audit_calibration/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_audit_calibration/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        settings=lambda w: {**runs[w.run].audit.issue_settings, "seed": runs[w.run].evaluation["seed"]},
        code=code("evaluate_audit_calibration"),
    script:
        "../scripts/evaluate_audit_calibration.py"


rule audit_page:
    input:
        issues="<run>/audit/audit.csv",
        summary="<run>/audit/audit.json",
        measured="<run>/audit/samples.csv",
        samples=lambda w: runs[w.run].model.dataset.train,
        consequence=lambda w: runs[w.run].audit.shown["table"],
        generated=lambda w: runs[w.run].audit.shown["images"],
        queries=lambda w: runs[w.run].audit.shown["queries"],
    output:
        report(
            "<run>/audit/audit.html",
            caption="../report/audit_page.rst",
            category="Audit",
            labels={"run": "{run}", "page": "audit"},
        ),
    log:
        "<logs>/audit_page/{run}.log",
    benchmark:
        "<benchmarks>/audit_page/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("audit_page"),
    script:
        "../scripts/audit_page.py"


rule audit:
    input:
        [f"{run.audit.folder}/audit.{kind}" for run in tables.audited for kind in ("csv", "html")],
        [table for run in tables.audited for table in run.audit.tables],
