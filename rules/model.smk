# Base pipeline, encoding and fine-tuning.


rule train_base:
    input:
        ancient(lambda w: [source[key] for source in base_trainings[w.base]["sources"] for key in ("path", "excerpt")]),
    output:
        directory("<results>/bases/{base}"),
    log:
        "<logs>/train_base/{base}.log",
    benchmark:
        "<benchmarks>/train_base/{base}.tsv"
    wildcard_constraints:
        base=dmin.one_of(base_trainings),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        save_every=compute["save_every"],
    params:
        settings=lambda w: base_trainings[w.base],
        source_contents=contents.base_training,
        code=code("train_base"),
    script:
        "../scripts/train_base.py"


rule base_models:
    input:
        expand("<results>/bases/{base}", base=base_trainings),


rule train_classifier:
    input:
        ancient(lambda w: [classifier_trainings[w.classifier][split] for split in ("train", "test")]),
    output:
        weights="<results>/classifiers/{classifier}/classifier.safetensors",
        description="<results>/classifiers/{classifier}/classifier.json",
    log:
        "<logs>/train_classifier/{classifier}.log",
    benchmark:
        "<benchmarks>/train_classifier/{classifier}.tsv"
    wildcard_constraints:
        classifier=dmin.one_of(classifier_trainings),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    params:
        settings=lambda w: classifier_trainings[w.classifier],
        source_contents=contents.classifier_training,
        code=code("train_classifier"),
    script:
        "../scripts/train_classifier.py"


rule classifiers:
    input:
        expand("<results>/classifiers/{classifier}/classifier.json", classifier=classifier_trainings),


rule encode_samples:
    input:
        samples=lambda w: datasets[w.dataset].train,
        base=ancient(lambda w: bases[w.base].files),
    output:
        "<results>/encoded/{dataset}/{base}/train.safetensors",
    log:
        "<logs>/encode_samples/{dataset}/{base}.log",
    benchmark:
        "<benchmarks>/encode_samples/{dataset}/{base}.tsv"
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


rule encode_own_samples:
    input:
        samples=lambda w: getattr(models[w.model].dataset, w.split),
        base=ancient(lambda w: models[w.model].base.files),
        adapter=lambda w: models[w.model].text_weights,
    output:
        "<results>/models/{model}/encoded/{split}.safetensors",
    log:
        "<logs>/encode_own_samples/{model}/{split}.log",
    benchmark:
        "<benchmarks>/encode_own_samples/{model}/{split}.tsv"
    wildcard_constraints:
        model=tables.models_of("adapter", own=True),
        split="train|test",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(models[w.model].base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        base=lambda w: models[w.model].base.settings,
        base_contents=contents.base,
        bucketed=lambda w: models[w.model].dataset.bucket_step is not None,
        code=code("encode_samples", "family"),
    script:
        "../scripts/encode_samples.py"


rule train_model:
    input:
        samples=lambda w: models[w.model].samples,
        base=ancient(lambda w: models[w.model].base.files),
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
        model=tables.models_of("adapter"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(models[w.model].base),
        gpu=tables.gpus * compute["train_processes"],
        processes=compute["train_processes"],
        device=compute["device"],
        save_every=compute["save_every"],
    params:
        model=lambda w: models[w.model].training,
        base=lambda w: models[w.model].base.settings,
        base_contents=contents.base,
        code=code("train_model", "family"),
    script:
        "../scripts/train_model.py"


rule train_full:
    input:
        samples=lambda w: models[w.model].samples,
        base=ancient(lambda w: models[w.model].base.files),
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
        model=tables.models_of("full"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(models[w.model].base, copies=5),
        gpu=tables.gpus * compute["train_processes"],
        processes=compute["train_processes"],
        device=compute["device"],
        save_every=compute["save_every"],
    params:
        model=lambda w: models[w.model].training,
        base=lambda w: models[w.model].base.settings,
        base_contents=contents.base,
        code=code("train_model", "family"),
    script:
        "../scripts/train_model.py"


rule import_adapter:
    input:
        ancient(lambda w: models[w.model].own_files),
        base=ancient(lambda w: models[w.model].base.files),
    output:
        weights="<results>/models/{model}/pytorch_lora_weights.safetensors",
        description="<results>/models/{model}/model.json",
    log:
        "<logs>/import_adapter/{model}.log",
    benchmark:
        "<benchmarks>/import_adapter/{model}.tsv"
    wildcard_constraints:
        model=tables.models_of("adapter", own=True),
    conda:
        "../envs/dmin.yaml"
    params:
        own=lambda w: models[w.model].settings["weights"],
        own_contents=contents.own,
        base=lambda w: models[w.model].base.settings,
        base_contents=contents.base,
        code=code("import_adapter", "family"),
    script:
        "../scripts/import_adapter.py"


rule import_pipeline:
    input:
        ancient(lambda w: models[w.model].own_files),
    output:
        weights=directory("<results>/models/{model}/pipeline"),
        description="<results>/models/{model}/model.json",
    log:
        "<logs>/import_pipeline/{model}.log",
    benchmark:
        "<benchmarks>/import_pipeline/{model}.tsv"
    wildcard_constraints:
        model=tables.models_of("full", own=True),
    conda:
        "../envs/dmin.yaml"
    params:
        own=lambda w: models[w.model].settings["weights"],
        own_contents=contents.own,
        base=lambda w: models[w.model].base.settings,
        base_contents=contents.base,
        code=code("import_pipeline", "family"),
    script:
        "../scripts/import_pipeline.py"


rule models:
    input:
        [model.description for model in models.values()],
