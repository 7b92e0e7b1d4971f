"""
Verification: every response is run against tests, isolated.

IN   <results>/sanitize_responses/{generation}/{shard}.parquet       well-formed responses with their tests
OUT  <results>/verify_responses/{generation}/{shard}.parquet         … with the sandbox's verdict
     <results>/cross_verify_responses/{generation}/{shard}.parquet   agreement of responses, where asked for
     <results>/count_assertions/{generation}/{shard}.parquet         assertions that hold, where asked for
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


rule cross_verify_responses:
    """Score how far the responses to an instruction pass each other's tests."""
    input:
        script=script("cross_verify_responses"),
        verdicts="<results>/verify_responses/{generation}/{shard}.parquet",
    output:
        rows="<results>/cross_verify_responses/{generation}/{shard}.parquet",
    log:
        "<logs>/cross_verify_responses/{generation}/{shard}.log",
    benchmark:
        "<timings>/cross_verify_responses/{generation}/{shard}.jsonl"
    container:
        image("sandbox")
    threads: 2
    resources:
        mem_mb=by_attempt(6_000),
        runtime=480,
    params:
        work="work/cross_verify_responses/{generation}/{shard}",
        timeout_s=CONFIG.verify_responses.timeout_s,
        memory_mb=CONFIG.verify_responses.memory_mb,
        isolation=CONFIG.verify_responses.isolation,
        i_understand=str(CONFIG.verify_responses.i_understand).lower(),
    message:
        "Running responses of {wildcards.generation} against each other's tests"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --verdicts {input.verdicts:q} \
            --rows {output.rows:q} \
            --work {params.work:q} \
            --workers {threads} \
            --timeout-s {params.timeout_s} \
            --memory-mb {params.memory_mb} \
            --isolation {params.isolation} \
            --i-understand {params.i_understand}
        """


rule count_assertions:
    """Run every assertion of a failing response by itself, and count those that hold."""
    input:
        script=script("count_assertions"),
        verdicts="<results>/verify_responses/{generation}/{shard}.parquet",
    output:
        rows="<results>/count_assertions/{generation}/{shard}.parquet",
    log:
        "<logs>/count_assertions/{generation}/{shard}.log",
    benchmark:
        "<timings>/count_assertions/{generation}/{shard}.jsonl"
    container:
        image("sandbox")
    threads: 2
    resources:
        mem_mb=by_attempt(6_000),
        runtime=480,
    params:
        work="work/count_assertions/{generation}/{shard}",
        timeout_s=CONFIG.verify_responses.timeout_s,
        memory_mb=CONFIG.verify_responses.memory_mb,
        isolation=CONFIG.verify_responses.isolation,
        i_understand=str(CONFIG.verify_responses.i_understand).lower(),
    message:
        "Counting assertions of failing responses of {wildcards.generation}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --verdicts {input.verdicts:q} \
            --rows {output.rows:q} \
            --work {params.work:q} \
            --workers {threads} \
            --timeout-s {params.timeout_s} \
            --memory-mb {params.memory_mb} \
            --isolation {params.isolation} \
            --i-understand {params.i_understand}
        """
