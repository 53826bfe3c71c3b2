# The check of all results: nothing is made, everything that stands there is read.

import time


rule check_files:
    output:
        "<results>/verify.csv",
    log:
        "<logs>/check_files/check_files.log",
    benchmark:
        "<benchmarks>/check_files/check_files.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        entries=lambda w: dmin.verify_entries(runs.values(), games.values(), contents),
        folders=lambda w: dmin.verify_folders(runs.values(), games.values()),
        # A check is a question, which is answered each time it is asked.
        asked=lambda w: time.time(),
        code=code("check_files"),
    script:
        "../scripts/check_files.py"


# A rule of its own, because Snakemake removes what a failed job wrote, and the table must stay.
rule verify:
    input:
        "<results>/verify.csv",
    log:
        "<logs>/verify/verify.log",
    benchmark:
        "<benchmarks>/verify/verify.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("verify"),
    script:
        "../scripts/verify.py"
