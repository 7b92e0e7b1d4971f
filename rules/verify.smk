"""
Verification: every response is run against tests, isolated.

IN   <results>/sanitize_responses/{generation}/{shard}.parquet       well-formed responses with their tests
OUT  <results>/verify_responses/{generation}/{shard}.parquet         … with the sandbox's verdict
     <results>/cross_verify_responses/{generation}/{shard}.parquet   agreement of responses, where asked for
     <results>/count_assertions/{generation}/{shard}.parquet         assertions that hold, where asked for
     <results>/weigh_assertions/{generation}/{shard}.parquet         responses weighed by the assertions of all, where asked for
     <results>/weigh_assertions/{generation}/{shard}.assertions.parquet   … and these by the responses
"""

from selfcodealign.config.execution import RunResponses

# Between two rounds of one shard a model writes for the other: waiting for a second core would leave the first idle.
VERIFIERS = 1 if any(map(SAMPLES.folders, CONFIG.generations)) else 2


rule verify_responses:
    """Run every response with its tests in the sandbox, and keep every row with its verdict."""
    input:
        script=script("verify_responses"),
        decided_by=decided_by("verify_responses"),
        responses=PLAN.rows_before("verify_responses"),
    output:
        rows="<results>/verify_responses/{generation}/{shard}.parquet",
        dropped="<results>/verify_responses/{generation}/{shard}.dropped.parquet",
        funnel="<results>/verify_responses/{generation}/{shard}.funnel.json",
    log:
        "<logs>/verify_responses/{generation}/{shard}.log",
    benchmark:
        "<timings>/verify_responses/{generation}/{shard}.jsonl"
    wildcard_constraints:
        generation=SAMPLES.pattern,
    container:
        image("sandbox")
    threads: VERIFIERS
    resources:
        mem_mb=by_attempt(6_000),
        runtime=480,
    params:
        work=of("work/verify_responses/{}/{}".format, "generation", "shard"),
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
        decided_by=decided_by("cross_verify_responses"),
        verdicts=PLAN.rows_before("cross_verify_responses"),
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
        flags=flags("verify_responses", kind=RunResponses),
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
            {params.flags}
        """


rule count_assertions:
    """Run every assertion of a failing response by itself, and count those that hold."""
    input:
        script=script("count_assertions"),
        decided_by=decided_by("count_assertions"),
        verdicts=PLAN.rows_before("count_assertions"),
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
        flags=flags("verify_responses", kind=RunResponses),
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
            {params.flags}
        """


rule weigh_assertions:
    """Weigh the responses to an instruction, and the single assertions of all of them, by each other."""
    input:
        script=script("weigh_assertions"),
        decided_by=decided_by("weigh_assertions"),
        verdicts=PLAN.rows_before("weigh_assertions"),
    output:
        rows="<results>/weigh_assertions/{generation}/{shard}.parquet",
        assertions="<results>/weigh_assertions/{generation}/{shard}.assertions.parquet",
    log:
        "<logs>/weigh_assertions/{generation}/{shard}.log",
    benchmark:
        "<timings>/weigh_assertions/{generation}/{shard}.jsonl"
    container:
        image("sandbox")
    threads: 2
    resources:
        mem_mb=by_attempt(6_000),
        runtime=480,
    params:
        work="work/weigh_assertions/{generation}/{shard}",
        flags=flags("verify_responses", kind=RunResponses),
        weighing=flags("weigh_assertions"),
    message:
        "Running responses of {wildcards.generation} against all assertions"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --verdicts {input.verdicts:q} \
            --rows {output.rows:q} \
            --assertions {output.assertions:q} \
            --work {params.work:q} \
            --workers {threads} \
            {params.flags} \
            {params.weighing}
        """
