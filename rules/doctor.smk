# What a config would be refused for, all at once, before anything runs.

import time


rule doctor:
    output:
        "<results>/doctor/report.json",
    log:
        "<logs>/doctor/doctor.log",
    benchmark:
        "<benchmarks>/doctor/doctor.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        entries=lambda w: dmin.doctor_entries(tables),
        architectures=str(ROOT / "resources" / "architectures"),
        measured=str(ROOT / "benchmarks" / "results" / "gradients.csv"),
        # A question, which is answered each time it is asked.
        asked=lambda w: time.time(),
        code=code("doctor"),
    script:
        "../scripts/doctor.py"
