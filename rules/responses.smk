"""
Responses: the model answers each instruction, with tests of its own (I→R); the well-formed answers are split.

IN   <results>/write_instructions/{generation}/{shard}.parquet    instructions
OUT  <results>/write_responses/{generation}/{shard}.parquet       answers as they came
     <results>/sanitize_responses/{generation}/{shard}.parquet    well-formed responses, split from their tests
Row stages also write .dropped.parquet, with reasons, and .funnel.json.

Where `write_responses.enough` is set, `generation` is also the name of a round: `self/samples-0`. Rounds share a ledger.
"""

from selfcodealign.planned_samples import PlannedSamples

SAMPLES = PlannedSamples(PLAN)


rule write_responses:
    """Let the model answer each task several times, each answer with its own tests."""
    input:
        script=script("write_responses"),
        decided_by=decided_by("write_responses"),
        instructions=of(PLAN.tasks, "generation", "shard"),
        earlier=of(lambda name, shard: [PLAN.tasks(name, one) for one in PLAN.earlier(shard)], "generation", "shard"),
        verdicts=lambda wildcards: SAMPLES.verdicts(wildcards.generation, wildcards.shard),
        before=lambda wildcards: SAMPLES.answers(wildcards.generation, wildcards.shard),
        prompts=of(PLAN.template, "generation"),
        examples=of(PLAN.examples, "generation"),
        implicit=of(PLAN.writer_files, "generation"),
    output:
        rows="<results>/write_responses/{generation}/{shard}.parquet",
        dropped="<results>/write_responses/{generation}/{shard}.dropped.parquet",
        funnel="<results>/write_responses/{generation}/{shard}.funnel.json",
    log:
        "<logs>/write_responses/{generation}/{shard}.log",
    benchmark:
        "<timings>/write_responses/{generation}/{shard}.jsonl"
    wildcard_constraints:
        generation=SAMPLES.pattern,
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=720,
        tasks_per_gpu=0,
    params:
        work=of("work/write_responses/{}/{}".format, "generation", "shard"),
        model=of(PLAN.writer, "generation", part=0),
        revision=of(PLAN.writer, "generation", part=1),
        trust_remote_code=of(PLAN.writer, "generation", part=2),
        run_seed=lambda wildcards: PLAN.generation_seed(entry_of(wildcards.generation)),
        mode=CONFIG.mode,
        engine=lambda wildcards: pairs(PLAN.engine(entry_of(wildcards.generation))),
        flags=flags(
            "write_responses",
            lambda wildcards: CONFIG.generations[entry_of(wildcards.generation)].responses,
        ),
    message:
        "Writing responses for shard {wildcards.shard} of {wildcards.generation}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --instructions {input.instructions:q} \
            --prompts {input.prompts:q} \
            --examples {input.examples:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --model {params.model:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --run-seed {params.run_seed} \
            --mode {params.mode} \
            --earlier {input.earlier:q} \
            --verdicts {input.verdicts:q} \
            --before {input.before:q} \
            --engine {params.engine} \
            {params.flags}
        """


rule sanitize_responses:
    """Split generations into response and tests, and drop the malformed ones."""
    input:
        script=script("sanitize_responses"),
        decided_by=decided_by("sanitize_responses"),
        responses=PLAN.rows_before("sanitize_responses"),
        tasks=of(PLAN.given_tests, "generation", "shard"),
    output:
        rows="<results>/sanitize_responses/{generation}/{shard}.parquet",
        dropped="<results>/sanitize_responses/{generation}/{shard}.dropped.parquet",
        funnel="<results>/sanitize_responses/{generation}/{shard}.funnel.json",
    log:
        "<logs>/sanitize_responses/{generation}/{shard}.log",
    benchmark:
        "<timings>/sanitize_responses/{generation}/{shard}.jsonl"
    wildcard_constraints:
        generation=SAMPLES.pattern,
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=60,
    params:
        mode=CONFIG.mode,
        given_tests=of(PLAN.use_of_tests, "generation"),
        flags=flags("sanitize_responses"),
    message:
        "Sanitising responses of {wildcards.generation}, shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --responses {input.responses:q} \
            --tasks {input.tasks:q} \
            --given-tests {params.given_tests} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            {params.flags}
        """
