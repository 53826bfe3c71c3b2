# The tables of the paper's sections, each over all runs of the config.


rule paper_table:
    input:
        lambda w: [run.table(w.section) for run in dmin.paper_runs(w.section, runs.values())],
    output:
        "<results>/paper/{section}.csv",
    log:
        "<logs>/paper_table/{section}.log",
    benchmark:
        "<benchmarks>/paper_table/{section}.tsv"
    wildcard_constraints:
        section=dmin.one_of(dmin.SECTIONS),
    conda:
        "../envs/dmin.yaml"
    params:
        runs=lambda w: [run.name for run in dmin.paper_runs(w.section, runs.values())],
        code=code("paper_table"),
    script:
        "../scripts/paper_table.py"


rule paper:
    input:
        [f"<results>/paper/{section}.csv" for section in dmin.SECTIONS if dmin.paper_runs(section, runs.values())],
        [run.figures("main_table", "main_table_subsets") for run in dmin.paper_runs("detection_rate", runs.values())],
