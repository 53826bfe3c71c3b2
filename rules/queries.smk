# The images that are asked about: generated, selected, held out or a user's own, and their encoding.


rule generate_queries:
    input:
        test=lambda w: runs[w.run].model.dataset.test,
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        # Spelled out: a constraint does not reach a wildcard inside a path variable.
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/generate_queries/{run}.log",
    benchmark:
        "<benchmarks>/generate_queries/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("generated"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["sample_batch"],
    params:
        queries=lambda w: runs[w.run].queries.sampling("per_subset", "seed"),
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        subsets=lambda w: runs[w.run].model.dataset.subsets,
        code=code("generate_queries", "family"),
    script:
        "../scripts/generate_queries.py"


rule generate_from_prompts:
    input:
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/generate_from_prompts/{run}.log",
    benchmark:
        "<benchmarks>/generate_from_prompts/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("prompts"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["sample_batch"],
    params:
        prompts=lambda w: runs[w.run].queries.prompts,
        queries=lambda w: runs[w.run].queries.sampling("seed"),
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("generate_from_prompts", "family"),
    script:
        "../scripts/generate_from_prompts.py"


rule import_queries:
    input:
        ancient(lambda w: runs[w.run].queries.image_files),
    output:
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/import_queries/{run}.log",
    benchmark:
        "<benchmarks>/import_queries/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("images"),
    conda:
        "../envs/dmin.yaml"
    params:
        images=lambda w: runs[w.run].queries.images,
        image_contents=contents.queries,
        size=lambda w: runs[w.run].model.dataset.settings["size"],
        bucket_step=lambda w: runs[w.run].model.dataset.bucket_step,
        profiles=lambda w: runs[w.run].model.dataset.settings["convert_profiles"],
        code=code("import_queries"),
    script:
        "../scripts/import_queries.py"


rule take_queries:
    input:
        lambda w: runs[w.run].model.dataset.test,
    output:
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/take_queries/{run}.log",
    benchmark:
        "<benchmarks>/take_queries/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("held_out"),
    conda:
        "../envs/dmin.yaml"
    params:
        queries=lambda w: dmin.pick(runs[w.run].queries.settings, "per_subset", "seed"),
        subsets=lambda w: runs[w.run].model.dataset.subsets,
        code=code("take_queries"),
    script:
        "../scripts/take_queries.py"


rule generate_candidates:
    input:
        test=lambda w: runs[w.run].model.dataset.test,
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/queries/candidates.parquet",
    log:
        "<logs>/generate_candidates/{run}.log",
    benchmark:
        "<benchmarks>/generate_candidates/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("classified", "selected"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["sample_batch"],
    params:
        queries=lambda w: runs[w.run].queries.sampling("seed"),
        candidates=lambda w: runs[w.run].queries.candidate_count,
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("generate_candidates", "family"),
    script:
        "../scripts/generate_candidates.py"


rule label_queries:
    input:
        candidates="<run>/queries/candidates.parquet",
        classifier=ancient(lambda w: runs[w.run].queries.classifier["path"]),
        description=ancient(lambda w: runs[w.run].queries.classifier_description),
    output:
        queries="<results>/runs/{run}/queries/queries.parquet",
        labels=report(
            "<results>/runs/{run}/tables/query_labels.csv",
            caption="../report/query_labels.rst",
            category="Tables",
            labels={"run": "{run}", "table": "labelled queries"},
        ),
    log:
        "<logs>/label_queries/{run}.log",
    benchmark:
        "<benchmarks>/label_queries/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("classified"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    params:
        confidence=lambda w: runs[w.run].queries.classifier["confidence"],
        per_subset=lambda w: runs[w.run].queries.settings["per_subset"],
        subsets=lambda w: runs[w.run].model.dataset.subsets,
        classifier_contents=contents.classifier,
        code=code("label_queries"),
    script:
        "../scripts/label_queries.py"


rule select_queries:
    input:
        candidates="<run>/queries/candidates.parquet",
        classifier=ancient(lambda w: runs[w.run].queries.classifier["path"]),
        description=ancient(lambda w: runs[w.run].queries.classifier_description),
    output:
        queries="<results>/runs/{run}/queries/queries.parquet",
        labels=report(
            "<results>/runs/{run}/tables/query_labels.csv",
            caption="../report/query_labels.rst",
            category="Tables",
            labels={"run": "{run}", "table": "labelled queries"},
        ),
    log:
        "<logs>/select_queries/{run}.log",
    benchmark:
        "<benchmarks>/select_queries/{run}.tsv"
    wildcard_constraints:
        run=tables.runs_asking("selected"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    params:
        confidence=lambda w: runs[w.run].queries.classifier["confidence"],
        keep=lambda w: runs[w.run].queries.settings["select"]["keep"],
        subsets=lambda w: runs[w.run].model.dataset.subsets,
        classifier_contents=contents.classifier,
        code=code("select_queries"),
    script:
        "../scripts/select_queries.py"


rule encode_queries:
    input:
        samples="<run>/queries/queries.parquet",
        base=ancient(lambda w: runs[w.run].model.base.files),
        adapter=lambda w: runs[w.run].model.text_weights,
    output:
        "<run>/queries/queries.safetensors",
    log:
        "<logs>/encode_queries/{run}.log",
    benchmark:
        "<benchmarks>/encode_queries/{run}.tsv"
    # On the way to the galleries.
    priority: 1
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        bucketed=lambda w: runs[w.run].model.dataset.bucket_step is not None,
        code=code("encode_samples", "family"),
    script:
        "../scripts/encode_samples.py"


rule record_trajectory:
    input:
        queries="<run>/queries/queries.parquet",
        weights=lambda w: runs[w.run].model.weights,
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/queries/trajectory.safetensors",
    log:
        "<logs>/record_trajectory/{run}.log",
    benchmark:
        "<benchmarks>/record_trajectory/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["sample_batch"],
    params:
        queries=lambda w: runs[w.run].queries.sampling(),
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        code=code("record_trajectory", "family"),
    script:
        "../scripts/record_trajectory.py"
