# The images that are asked about: generated, selected, held out or a user's own, and their encoding.


rule generate_queries:
    input:
        test=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/test.parquet",
        weights=weights_of,
        base=base_files,
    output:
        # Spelled out: a constraint does not reach a wildcard inside a path variable.
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/generate_queries/{run}.log",
    benchmark:
        "<benchmarks>/generate_queries/{run}.tsv"
    wildcard_constraints:
        run=runs_asking("generated"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["sample_batch"],
    params:
        queries=lambda w: canonical(
            {key: run_of(w)["queries"][key] for key in ("per_subset", "steps", "guidance", "seed")}
        ),
        base=lambda w: canonical(base_of(w)),
        subsets=lambda w: subsets_of(dataset_of(run_of(w))),
        code=code_digest("generate_queries"),
    script:
        "../scripts/generate_queries.py"


rule generate_from_prompts:
    input:
        weights=weights_of,
        base=base_files,
    output:
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/generate_from_prompts/{run}.log",
    benchmark:
        "<benchmarks>/generate_from_prompts/{run}.tsv"
    wildcard_constraints:
        run=runs_asking("prompts"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["sample_batch"],
    params:
        prompts=lambda w: own_prompts(run_of(w)),
        queries=lambda w: canonical({key: run_of(w)["queries"][key] for key in ("steps", "guidance", "seed")}),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("generate_from_prompts"),
    script:
        "../scripts/generate_from_prompts.py"


rule import_queries:
    input:
        lambda w: image_files(run_of(w)["queries"]["images"]["path"]),
    output:
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/import_queries/{run}.log",
    benchmark:
        "<benchmarks>/import_queries/{run}.tsv"
    wildcard_constraints:
        run=runs_asking("images"),
    conda:
        "../envs/dmin.yaml"
    params:
        images=section("runs", "{run}", "queries", "images"),
        size=lambda w: dataset_of(run_of(w))["size"],
        code=code_digest("import_queries"),
    script:
        "../scripts/import_queries.py"


rule take_queries:
    input:
        lambda w: f"<results>/datasets/{model_of(w)['dataset']}/test.parquet",
    output:
        "<results>/runs/{run}/queries/queries.parquet",
    log:
        "<logs>/take_queries/{run}.log",
    benchmark:
        "<benchmarks>/take_queries/{run}.tsv"
    wildcard_constraints:
        run=runs_asking("held_out"),
    conda:
        "../envs/dmin.yaml"
    params:
        queries=lambda w: canonical({key: run_of(w)["queries"][key] for key in ("per_subset", "seed")}),
        subsets=lambda w: subsets_of(dataset_of(run_of(w))),
        code=code_digest("take_queries"),
    script:
        "../scripts/take_queries.py"


rule generate_candidates:
    input:
        test=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/test.parquet",
        weights=weights_of,
        base=base_files,
    output:
        "<run>/queries/candidates.parquet",
    log:
        "<logs>/generate_candidates/{run}.log",
    benchmark:
        "<benchmarks>/generate_candidates/{run}.tsv"
    wildcard_constraints:
        run=runs_asking("classified", "selected"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["sample_batch"],
    params:
        queries=lambda w: canonical({key: run_of(w)["queries"][key] for key in ("steps", "guidance", "seed")}),
        candidates=lambda w: candidate_count(run_of(w)),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("generate_candidates"),
    script:
        "../scripts/generate_candidates.py"


rule label_queries:
    input:
        candidates="<run>/queries/candidates.parquet",
        classifier=lambda w: run_of(w)["queries"]["classifier"]["path"],
        description=lambda w: str(Path(run_of(w)["queries"]["classifier"]["path"]).with_suffix(".json")),
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
        run=runs_asking("classified"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        confidence=lambda w: run_of(w)["queries"]["classifier"]["confidence"],
        per_subset=lambda w: run_of(w)["queries"]["per_subset"],
        subsets=lambda w: subsets_of(dataset_of(run_of(w))),
        code=code_digest("label_queries"),
    script:
        "../scripts/label_queries.py"


rule select_queries:
    input:
        candidates="<run>/queries/candidates.parquet",
        classifier=lambda w: run_of(w)["queries"]["classifier"]["path"],
        description=lambda w: str(Path(run_of(w)["queries"]["classifier"]["path"]).with_suffix(".json")),
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
        run=runs_asking("selected"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        confidence=lambda w: run_of(w)["queries"]["classifier"]["confidence"],
        keep=lambda w: run_of(w)["queries"]["select"]["keep"],
        subsets=lambda w: subsets_of(dataset_of(run_of(w))),
        code=code_digest("select_queries"),
    script:
        "../scripts/select_queries.py"


rule encode_queries:
    input:
        samples="<run>/queries/queries.parquet",
        base=base_files,
    output:
        "<run>/queries/queries.safetensors",
    log:
        "<logs>/encode_queries/{run}.log",
    benchmark:
        "<benchmarks>/encode_queries/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["encode_batch"],
    params:
        base=lambda w: canonical(base_of(w)),
        code=code_digest("encode_queries"),
    script:
        "../scripts/encode_queries.py"


rule record_trajectory:
    input:
        queries="<run>/queries/queries.parquet",
        weights=weights_of,
        base=base_files,
    output:
        "<run>/queries/trajectory.safetensors",
    log:
        "<logs>/record_trajectory/{run}.log",
    benchmark:
        "<benchmarks>/record_trajectory/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["sample_batch"],
    params:
        queries=lambda w: canonical({key: run_of(w)["queries"][key] for key in ("steps", "guidance")}),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("record_trajectory"),
    script:
        "../scripts/record_trajectory.py"
