"""
Report: what the run did, on one page, and everything needed to do it again.

IN   everything under <results>/ and <timings>/
OUT  <results>/provenance.json                        commit, config, machine, seeds, hashes of models and datasets
     <results>/record_provenance/requirements.txt     the installed packages, as pip reads them
     <results>/ro-crate-metadata.json                 the same run for archives of research data
     <results>/report.html                            the page: needs no network and no script
     <results>/build_report/summary.json              its headline numbers, for the terminal
     <results>/build_report/*.svg                     its figures
"""


rule record_provenance:
    """Record commit, config, versions, machine, seeds, and the hashes of models and datasets."""
    input:
        script=script("record_provenance"),
        decided_by=decided_by("record_provenance"),
        models=PLAN.models.all_tuned(),
        datasets=[
            *collect("<results>/build_dataset/{dataset}", dataset=CONFIG.datasets),
            *collect("<results>/import_dataset/{dataset}", dataset=CONFIG.other_datasets),
        ],
    output:
        provenance=report(
            "<results>/provenance.json",
            caption="../report/record_provenance.rst",
            category="Run",
            labels={"file": "Provenance"},
        ),
        requirements=report(
            "<results>/record_provenance/requirements.txt",
            caption="../report/record_provenance.rst",
            category="Run",
            labels={"file": "Installed packages"},
        ),
        crate="<results>/ro-crate-metadata.json",
    log:
        "<logs>/record_provenance.log",
    benchmark:
        "<timings>/record_provenance.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_000),
        runtime=30,
    params:
        config=lambda _: CONFIG.model_dump_json(),
        images=lambda _: images.digests(CONFIG.containers) if IN_CONTAINERS else [],
    message:
        "Recording what this run is made from"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --models {input.models:q} \
            --datasets {input.datasets:q} \
            --config {params.config:q} \
            --images {params.images:q} \
            --provenance {output.provenance:q} \
            --requirements {output.requirements:q} \
            --crate {output.crate:q}
        """


rule build_report:
    """Build the page, its figures, and the numbers for the terminal."""
    input:
        script=script("build_report"),
        decided_by=decided_by("build_report"),
        provenance=rules.record_provenance.output.provenance,
        implicit=[
            rules.check_funnels.output.totals,
            PLAN.models.all_tuned(".metrics.jsonl"),
            PLAN.scores(),
            collect("<results>/build_table/{table}.json", table=CONFIG.tables),
        ],
    output:
        report=report(
            "<results>/report.html",
            caption="../report/build_report.rst",
            category="Run",
            labels={"file": "The whole report"},
        ),
        summary="<results>/build_report/summary.json",
        funnel=report(
            "<results>/build_report/funnel.svg",
            caption="../report/build_report.rst",
            category="Figures",
            labels={"figure": "What each stage kept"},
        ),
        verdicts=report(
            "<results>/build_report/verdicts.svg",
            caption="../report/build_report.rst",
            category="Figures",
            labels={"figure": "Verdicts of the sandbox"},
        ),
        lengths=report(
            "<results>/build_report/lengths.svg",
            caption="../report/build_report.rst",
            category="Figures",
            labels={"figure": "Length of responses"},
        ),
        judge_scores=report(
            "<results>/build_report/judge_scores.svg",
            caption="../report/build_report.rst",
            category="Figures",
            labels={"figure": "Scores of the seed judge"},
        ),
        loss=report(
            "<results>/build_report/loss.svg",
            caption="../report/build_report.rst",
            category="Figures",
            labels={"figure": "Training loss"},
        ),
        scores=report(
            "<results>/build_report/scores.svg",
            caption="../report/build_report.rst",
            category="Figures",
            labels={"figure": "Benchmark scores"},
        ),
    log:
        "<logs>/build_report.log",
    benchmark:
        "<timings>/build_report.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=60,
    params:
        results=subpath(output.report, parent=True),
        timings=TIMINGS,
    message:
        "Building the report"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --results {params.results:q} \
            --timings {params.timings:q} \
            --provenance {input.provenance:q} \
            --report {output.report:q} \
            --summary {output.summary:q} \
            --funnel {output.funnel:q} \
            --verdicts {output.verdicts:q} \
            --lengths {output.lengths:q} \
            --judge-scores {output.judge_scores:q} \
            --loss {output.loss:q} \
            --scores {output.scores:q}
        """
