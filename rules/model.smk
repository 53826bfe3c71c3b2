# Base pipeline, encoding and fine-tuning.


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
