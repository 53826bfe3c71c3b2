# From sources on the hub or on disk to one assembled data set.


rule fetch_source:
    input:
        source_input,
    output:
        "<results>/sources/{dataset}/{source}.parquet",
    log:
        "<logs>/fetch_source/{dataset}/{source}.log",
    benchmark:
        "<benchmarks>/fetch_source/{dataset}/{source}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        source=lambda w: canonical(source_of(w)),
        code=code_digest("fetch_source"),
    script:
        "../scripts/fetch_source.py"


rule assemble_dataset:
    input:
        lambda w: [
            f"<results>/sources/{w.dataset}/{source['name']}.parquet"
            for source in config["datasets"][w.dataset]["sources"]
        ],
    output:
        train="<results>/datasets/{dataset}/train.parquet",
        test="<results>/datasets/{dataset}/test.parquet",
        summary="<results>/datasets/{dataset}/dataset.json",
    log:
        "<logs>/assemble_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/assemble_dataset/{dataset}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        dataset=lambda w: canonical(
            {
                **{key: value for key, value in config["datasets"][w.dataset].items() if key != "sources"},
                "sources": [source["name"] for source in config["datasets"][w.dataset]["sources"]],
            }
        ),
        code=code_digest("assemble_dataset"),
    script:
        "../scripts/assemble_dataset.py"


rule datasets:
    input:
        expand("<results>/datasets/{dataset}/dataset.json", dataset=config["datasets"]),
