"""
Verification: every response runs with its own tests, in a sandbox.

IN   <results>/sanitize_responses/{generation}/{shard}.parquet   responses and their tests
OUT  <results>/verify_responses/{generation}/{shard}.parquet     the same rows, each with its verdict
"""


rule verify_responses:
    """Run every response with its tests in the sandbox, and keep every row with its verdict."""
    input:
        script=script("verify_responses"),
        responses="<results>/sanitize_responses/{generation}/{shard}.parquet",
    output:
        rows="<results>/verify_responses/{generation}/{shard}.parquet",
        dropped="<results>/verify_responses/{generation}/{shard}.dropped.parquet",
        funnel="<results>/verify_responses/{generation}/{shard}.funnel.json",
    log:
        "<logs>/verify_responses/{generation}/{shard}.log",
    benchmark:
        "<timings>/verify_responses/{generation}/{shard}.jsonl"
    container:
        image("sandbox")
    threads: 2
    resources:
        mem_mb=by_attempt(6_000),
        runtime=480,
    params:
        work="work/verify_responses/{generation}/{shard}",
        mode=CONFIG.mode,
        flags=flags("verify_responses"),
    message:
        "Running the responses of shard {wildcards.shard} of {wildcards.generation}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --responses {input.responses:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --mode {params.mode} \
            --workers {threads} \
            {params.flags}
        """
