"""
Evaluation: every model on every benchmark, by the same path, with everything kept between its steps.

IN   the authors' published problems, or the file that the config names
     <results>/train_sft/{model}/                              models that this run trains; base and given models too
OUT  <results>/fetch_benchmark/{benchmark}.gz                  problems, checked by sha256
     <results>/sample_solutions/{model}/{benchmark}.parquet    what the model wrote
     <results>/extract_programs/{model}/{benchmark}.parquet    the programs in it
     <results>/execute_programs/{model}/{benchmark}.parquet    a verdict per program and group of tests
     <results>/score_benchmark/{model}/{benchmark}.json        pass@k with intervals, per-task results, the paper's number
     <results>/compare_models/{benchmark}.json                 paired tests between the models
"""

from selfcodealign.config.evaluation import SampleSolutions


rule fetch_benchmark:
    """Fetch a benchmark's problems from its authors, or take a local file, and name their version."""
    input:
        script=script("fetch_benchmark"),
        decided_by=decided_by("fetch_benchmark"),
        file=lambda wildcards: PLAN.fetched[wildcards.benchmark].files,
    output:
        problems="<results>/fetch_benchmark/{benchmark}.gz",
        about="<results>/fetch_benchmark/{benchmark}.json",
    log:
        "<logs>/fetch_benchmark/{benchmark}.log",
    benchmark:
        "<timings>/fetch_benchmark/{benchmark}.jsonl"
    container:
        image("evaluate")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=30,
    params:
        benchmark=of(PLAN.benchmark, "benchmark"),
        flags=lambda wildcards: written_flags(PLAN.benchmark_settings(wildcards.benchmark, "version")),
    message:
        "Fetching the problems of {wildcards.benchmark}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --benchmark {params.benchmark:q} \
            --file {input.file:q} \
            --problems {output.problems:q} \
            {params.flags} \
            --about {output.about:q}
        """


rule sample_solutions:
    """Let a model answer a benchmark's problems: raw completion, or instructions in its template."""
    input:
        script=script("sample_solutions"),
        decided_by=decided_by("sample_solutions"),
        problems=rules.fetch_benchmark.output.problems,
        implicit=lambda wildcards: PLAN.models.files(PLAN.subject(wildcards.model)[0]),
    output:
        rows="<results>/sample_solutions/{model}/{benchmark}.parquet",
    log:
        "<logs>/sample_solutions/{model}/{benchmark}.log",
    benchmark:
        "<timings>/sample_solutions/{model}/{benchmark}.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=240,
        tasks_per_gpu=0,
    params:
        benchmark=of(PLAN.benchmark, "benchmark"),
        model=of(PLAN.subject, "model", part=0),
        revision=of(PLAN.subject, "model", part=1),
        trust_remote_code=lambda wildcards: str(PLAN.subject(wildcards.model)[2]).lower(),
        style=of(PLAN.subject, "model", part=3),
        mode=CONFIG.mode,
        run_seed=CONFIG.seed,
        work="work/sample_solutions/{model}/{benchmark}",
        engine=lambda wildcards: pairs(PLAN.subjects_engine(wildcards.model)),
        flags=lambda wildcards: written_flags(
            PLAN.benchmark_settings(wildcards.benchmark, *SampleSolutions.model_fields)
        ),
    message:
        "Sampling {wildcards.model}'s answers to {wildcards.benchmark}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --benchmark {params.benchmark:q} \
            --problems {input.problems:q} \
            --rows {output.rows:q} \
            --work {params.work:q} \
            --model {params.model:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --style {params.style} \
            --mode {params.mode} \
            --run-seed {params.run_seed} \
            {params.flags} \
            --engine {params.engine}
        """


rule extract_programs:
    """Read the program out of each answer, by the benchmark's own rules."""
    input:
        script=script("extract_programs"),
        decided_by=decided_by("extract_programs"),
        problems=rules.fetch_benchmark.output.problems,
        samples=rules.sample_solutions.output.rows,
    output:
        rows="<results>/extract_programs/{model}/{benchmark}.parquet",
    log:
        "<logs>/extract_programs/{model}/{benchmark}.log",
    benchmark:
        "<timings>/extract_programs/{model}/{benchmark}.jsonl"
    container:
        image("evaluate")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=30,
    params:
        benchmark=of(PLAN.benchmark, "benchmark"),
        mode=CONFIG.mode,
    message:
        "Reading the programs of {wildcards.model} for {wildcards.benchmark}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --benchmark {params.benchmark:q} \
            --problems {input.problems:q} \
            --samples {input.samples:q} \
            --rows {output.rows:q} \
            --mode {params.mode}
        """


rule execute_programs:
    """Judge each program in the sandbox, by the benchmark's tests and limits."""
    input:
        script=script("execute_programs"),
        decided_by=decided_by("execute_programs"),
        problems=rules.fetch_benchmark.output.problems,
        programs=rules.extract_programs.output.rows,
    output:
        rows="<results>/execute_programs/{model}/{benchmark}.parquet",
    log:
        "<logs>/execute_programs/{model}/{benchmark}.log",
    benchmark:
        "<timings>/execute_programs/{model}/{benchmark}.jsonl"
    container:
        lambda wildcards: image(PLAN.island(wildcards.benchmark))
    threads: 2
    resources:
        mem_mb=by_attempt(10_000),
        runtime=240,
    params:
        benchmark=of(PLAN.benchmark, "benchmark"),
        work="work/execute_programs/{model}/{benchmark}",
        references="work/execute_programs/references",
        flags=flags("execute_programs"),
    message:
        "Running the programs of {wildcards.model} for {wildcards.benchmark}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --benchmark {params.benchmark:q} \
            --problems {input.problems:q} \
            --programs {input.programs:q} \
            --rows {output.rows:q} \
            --work {params.work:q} \
            --references {params.references:q} \
            --workers {threads} \
            {params.flags}
        """


rule score_benchmark:
    """Score a model on a benchmark, with intervals, warnings, and the paper's number beside."""
    input:
        script=script("score_benchmark"),
        decided_by=decided_by("score_benchmark"),
        problems=rules.fetch_benchmark.output.problems,
        about=rules.fetch_benchmark.output.about,
        samples=rules.sample_solutions.output.rows,
        verdicts=rules.execute_programs.output.rows,
    output:
        scores="<results>/score_benchmark/{model}/{benchmark}.json",
    log:
        "<logs>/score_benchmark/{model}/{benchmark}.log",
    benchmark:
        "<timings>/score_benchmark/{model}/{benchmark}.jsonl"
    container:
        image("evaluate")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=30,
    params:
        benchmark=of(PLAN.benchmark, "benchmark"),
        run_seed=CONFIG.seed,
        paper_model=lambda wildcards: CONFIG.paper_models.get(wildcards.model, ""),
        flags=flags("score_benchmark"),
    message:
        "Scoring {wildcards.model} on {wildcards.benchmark}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --benchmark {params.benchmark:q} \
            --problems {input.problems:q} \
            --about {input.about:q} \
            --samples {input.samples:q} \
            --verdicts {input.verdicts:q} \
            --scores {output.scores:q} \
            --name {wildcards.model:q} \
            --run-seed {params.run_seed} \
            --paper-model={params.paper_model:q} \
            {params.flags}
        """


rule compare_models:
    """Compare the models on the same tasks, pair by pair."""
    input:
        script=script("compare_models"),
        decided_by=decided_by("compare_models"),
        scores=of(PLAN.scores, "benchmark"),
    output:
        comparison="<results>/compare_models/{benchmark}.json",
    log:
        "<logs>/compare_models/{benchmark}.log",
    benchmark:
        "<timings>/compare_models/{benchmark}.jsonl"
    container:
        image("evaluate")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=30,
    params:
        run_seed=CONFIG.seed,
    message:
        "Comparing the models on {wildcards.benchmark}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --scores {input.scores:q} \
            --comparison {output.comparison:q} \
            --run-seed {params.run_seed}
        """
