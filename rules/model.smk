# Base pipeline, encoding, fine-tuning, and the generated images that are asked about.


rule train_base:
    input:
        lambda w: [
            path
            for source in config["base_training"][w.base]["sources"]
            for path in (source["path"], source["excerpt"])
        ],
    output:
        directory("<results>/bases/{base}"),
    log:
        "<logs>/train_base/{base}.log",
    benchmark:
        "<benchmarks>/train_base/{base}.tsv"
    wildcard_constraints:
        base=name_pattern("base_training"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        save_every=config["compute"]["save_every"],
    params:
        settings=section("base_training", "{base}"),
        code=code_digest("train_base"),
    script:
        "../scripts/train_base.py"


rule base_models:
    input:
        expand("<results>/bases/{base}", base=config["base_training"]),


rule train_classifier:
    input:
        lambda w: [config["classifier_training"][w.classifier][split] for split in ("train", "test")],
    output:
        weights="<results>/classifiers/{classifier}/classifier.safetensors",
        description="<results>/classifiers/{classifier}/classifier.json",
    log:
        "<logs>/train_classifier/{classifier}.log",
    benchmark:
        "<benchmarks>/train_classifier/{classifier}.tsv"
    wildcard_constraints:
        classifier=name_pattern("classifier_training"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        settings=section("classifier_training", "{classifier}"),
        code=code_digest("train_classifier"),
    script:
        "../scripts/train_classifier.py"


rule classifiers:
    input:
        expand("<results>/classifiers/{classifier}/classifier.json", classifier=config["classifier_training"]),


rule encode_samples:
    input:
        samples="<results>/datasets/{dataset}/train.parquet",
        base=base_files,
    output:
        "<results>/encoded/{dataset}/{base}/train.safetensors",
    log:
        "<logs>/encode_samples/{dataset}/{base}.log",
    benchmark:
        "<benchmarks>/encode_samples/{dataset}/{base}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["encode_batch"],
    params:
        base=section("bases", "{base}"),
        code=code_digest("encode_samples"),
    script:
        "../scripts/encode_samples.py"


rule train_model:
    input:
        samples=lambda w: "<results>/encoded/{dataset}/{base}/train.safetensors".format(**config["models"][w.model]),
        base=base_files,
    output:
        weights="<results>/models/{model}/pytorch_lora_weights.safetensors",
        description="<results>/models/{model}/model.json",
        curve="<results>/models/{model}/training.csv",
        checkpoints=directory("<results>/models/{model}/checkpoints"),
        training_log="<results>/models/{model}/training_log.parquet",
    log:
        "<logs>/train_model/{model}.log",
    benchmark:
        "<benchmarks>/train_model/{model}.tsv"
    wildcard_constraints:
        model=finetuned("adapter"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus() * config["compute"]["train_processes"],
        processes=config["compute"]["train_processes"],
        device=config["compute"]["device"],
        save_every=config["compute"]["save_every"],
    params:
        model=lambda w: canonical({key: value for key, value in config["models"][w.model].items() if key != "weights"}),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("train_model"),
    script:
        "../scripts/train_model.py"


rule train_full:
    input:
        samples=lambda w: "<results>/encoded/{dataset}/{base}/train.safetensors".format(**config["models"][w.model]),
        base=base_files,
    output:
        weights=directory("<results>/models/{model}/pipeline"),
        description="<results>/models/{model}/model.json",
        curve="<results>/models/{model}/training.csv",
        checkpoints=directory("<results>/models/{model}/checkpoints"),
        training_log="<results>/models/{model}/training_log.parquet",
    log:
        "<logs>/train_full/{model}.log",
    benchmark:
        "<benchmarks>/train_full/{model}.tsv"
    wildcard_constraints:
        model=finetuned("full"),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=gpus() * config["compute"]["train_processes"],
        processes=config["compute"]["train_processes"],
        device=config["compute"]["device"],
        save_every=config["compute"]["save_every"],
    params:
        model=lambda w: canonical(
            {key: value for key, value in config["models"][w.model].items() if key not in ("lora", "weights")}
        ),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("train_full"),
    script:
        "../scripts/train_full.py"


rule import_adapter:
    input:
        own_weights,
        base=base_files,
    output:
        weights="<results>/models/{model}/pytorch_lora_weights.safetensors",
        description="<results>/models/{model}/model.json",
    log:
        "<logs>/import_adapter/{model}.log",
    benchmark:
        "<benchmarks>/import_adapter/{model}.tsv"
    wildcard_constraints:
        model=finetuned("adapter", own=True),
    conda:
        "../envs/dmin.yaml"
    params:
        own=section("models", "{model}", "weights"),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("import_adapter"),
    script:
        "../scripts/import_adapter.py"


rule import_pipeline:
    input:
        own_weights,
    output:
        weights=directory("<results>/models/{model}/pipeline"),
        description="<results>/models/{model}/model.json",
    log:
        "<logs>/import_pipeline/{model}.log",
    benchmark:
        "<benchmarks>/import_pipeline/{model}.tsv"
    wildcard_constraints:
        model=finetuned("full", own=True),
    conda:
        "../envs/dmin.yaml"
    params:
        own=section("models", "{model}", "weights"),
        base=lambda w: canonical(base_of(w)),
        code=code_digest("import_pipeline"),
    script:
        "../scripts/import_pipeline.py"


rule models:
    input:
        expand("<results>/models/{model}/model.json", model=config["models"]),


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
