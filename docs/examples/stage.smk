"""
The rule of a stage of your own: log, timings, container, resources and message as every rule has them.

IN   <results>/filter_seeds/{shard}.parquet    seeds
OUT  <results>/count_calls/{shard}.parquet     those that call few others
"""


rule count_calls:
    """Keep the functions that call few others."""
    input:
        script=script("count_calls"),
        decided_by=decided_by("count_calls"),
        seeds="<results>/filter_seeds/{shard}.parquet",
    output:
        kept="<results>/count_calls/{shard}.parquet",
        dropped="<results>/count_calls/{shard}.dropped.parquet",
        funnel="<results>/count_calls/{shard}.funnel.json",
    log:
        "<logs>/count_calls/{shard}.log",
    benchmark:
        "<timings>/count_calls/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=1_500,
        runtime=60,
    params:
        flags=flags("count_calls"),
    message:
        "Counting the calls of shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --kept {output.kept:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            {params.flags}
        """
