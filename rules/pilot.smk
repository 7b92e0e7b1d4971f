"""
Pilot: a few seeds through every stage, in a run of their own, before the whole bill.

IN   <results>/decontaminate_seeds/{shard}.parquet    seeds before the judge, which the run needs anyway
OUT  <results>/run_pilot/pilot.json, pilot.md         what was measured, what the run will leave and take, what looks wrong
WORK work/run_pilot/                                  the pilot's own results, logs and timings; the run never reads them
"""

from selfcodealign.planned_pilot import PlannedPilot, passed_on

PILOT = PlannedPilot(PLAN)


# It starts a Snakemake of its own, which sends its jobs wherever this one does, and so runs in no container.
localrules:
    run_pilot,


rule run_pilot:
    """Try the run on a few seeds, and say what the whole will leave and take."""
    input:
        script=script("run_pilot"),
        decided_by=decided_by("run_pilot"),
        before_judge=lambda _: PILOT.seeds,
        implicit=lambda _: PILOT.needed,
    output:
        pilot="<results>/run_pilot/pilot.json",
        page="<results>/run_pilot/pilot.md",
    log:
        "<logs>/run_pilot.log",
    benchmark:
        "<timings>/run_pilot.jsonl"
    container:
        lambda _: None
    threads: 1
    resources:
        mem_mb=by_attempt(1_000),
        runtime=1440,
    params:
        work="work/run_pilot",
        results=lambda _: RESULTS,
        config=lambda _: CONFIG.model_dump_json(),
        arguments=lambda _: written_flags({"arguments": passed_on()}),
        gpu=lambda _: str(preflight.has_gpu()).lower(),
        style=lambda _: preflight.style_warning(CONFIG, Path(HUB_HOME)),
        flags=flags("run_pilot"),
    message:
        "Trying the run on a few seeds"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --before-judge {input.before_judge:q} \
            --pilot {output.pilot:q} \
            --page {output.page:q} \
            --work {params.work:q} \
            --results {params.results:q} \
            --config {params.config:q} \
            --gpu {params.gpu} \
            --style={params.style:q} \
            {params.arguments} \
            {params.flags}
        """


rule pilot:
    """What a few seeds say of the whole run; `python -m selfcodealign pilot` does the same."""
    input:
        "<results>/run_pilot/pilot.md",
