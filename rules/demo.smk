"""
The embedded demo: raw shards and a benchmark of the toy domain, and the recipe of the tiny base model.

OUT  <results>/make_demo_shards/{shard}.parquet    files of the toy domain and of the standard library
     <results>/make_demo_benchmark/tasks.jsonl     held-out tasks in HumanEval's format
     <results>/make_rehearsal_file/{format}.jsonl  the same in a benchmark's own format, for a rehearsal of the tables
     <results>/pretrain_demo_model/                the tiny base model, trained anew (only when asked for)
WORK work/pretrain_demo_model/                     checkpoint of the training; survives a kill
"""


wildcard_constraints:
    format=r"[a-z0-9_]+",


rule make_demo_shards:
    """Write raw shards: toy functions, what the filters should reject, and modules of the standard library."""
    input:
        script=script("make_demo_shards"),
        decided_by=decided_by("make_demo_shards"),
    output:
        shards=[
            "<results>/make_demo_shards/00000.parquet",
            "<results>/make_demo_shards/00001.parquet",
        ],
    log:
        "<logs>/make_demo_shards.log",
    benchmark:
        "<timings>/make_demo_shards.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=10,
    params:
        flags=flags("make_demo_shards"),
    message:
        "Writing the demo's raw shards"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --shards {output.shards:q} \
            {params.flags}
        """


rule make_demo_benchmark:
    """Write held-out tasks of the toy domain, with hidden tests."""
    input:
        script=script("make_demo_benchmark"),
        decided_by=decided_by("make_demo_benchmark"),
    output:
        tasks="<results>/make_demo_benchmark/tasks.jsonl",
    log:
        "<logs>/make_demo_benchmark.log",
    benchmark:
        "<timings>/make_demo_benchmark.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=10,
    params:
        flags=flags("make_demo_benchmark"),
    message:
        "Writing the demo's benchmark"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --tasks {output.tasks:q} \
            {params.flags}
        """


rule make_rehearsal_file:
    """Write toy tasks in the format of one of the paper's benchmarks, or as an instruction dataset of others."""
    input:
        script=script("make_rehearsal_file"),
        decided_by=decided_by("make_rehearsal_file"),
    output:
        file="<results>/make_rehearsal_file/{format}.jsonl",
    log:
        "<logs>/make_rehearsal_file/{format}.log",
    benchmark:
        "<timings>/make_rehearsal_file/{format}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=10,
    params:
        flags=flags("make_rehearsal_file"),
    message:
        "Writing toy tasks in the format {wildcards.format}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --format {wildcards.format} \
            --file {output.file:q} \
            {params.flags}
        """


rule pretrain_demo_model:
    """Train the tiny base model from scratch; about an hour on two cores, and no other rule asks for it."""
    input:
        script=script("pretrain_demo_model"),
        decided_by=decided_by("pretrain_demo_model"),
    output:
        model=directory("<results>/pretrain_demo_model"),
    log:
        "<logs>/pretrain_demo_model.log",
    benchmark:
        "<timings>/pretrain_demo_model.jsonl"
    container:
        image("train")
    threads: 2
    resources:
        mem_mb=by_attempt(4_000),
        runtime=240,
    params:
        work="work/pretrain_demo_model",
        flags=flags("pretrain_demo_model"),
    message:
        "Training the demo's base model from scratch"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --model {output.model:q} \
            --work {params.work:q} \
            --threads {threads} \
            {params.flags}
        """
