# The tables of the paper's sections, each over all runs of the config.


rule paper_table:
    input:
        lambda w: [f"<results>/runs/{run}/tables/{w.section}.csv" for run in paper_runs(w.section)],
    output:
        "<results>/paper/{section}.csv",
    log:
        "<logs>/paper_table/{section}.log",
    benchmark:
        "<benchmarks>/paper_table/{section}.tsv"
    wildcard_constraints:
        section="|".join(PAPER_SECTIONS),
    conda:
        "../envs/dmin.yaml"
    params:
        runs=lambda w: paper_runs(w.section),
        code=code_digest("paper_table"),
    script:
        "../scripts/paper_table.py"


rule paper:
    input:
        [f"<results>/paper/{section}.csv" for section in PAPER_SECTIONS if paper_runs(section)],
        [
            f"<results>/runs/{run}/figures/main_table.{suffix}"
            for run in paper_runs("detection_rate")
            for suffix in ("svg", "png")
        ],
