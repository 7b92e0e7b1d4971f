"""
Dataset: judged responses in, published training sets out.

IN   <results>/verify_responses/{generation}/{shard}.parquet   responses with the sandbox's verdict
     <results>/gather_seeds/{shard}.parquet                    seeds, for source and licence
OUT  <results>/select_responses/{dataset}.parquet              the responses chosen for a dataset
     <results>/decontaminate_dataset/{dataset}.parquet         … without overlap with benchmarks
     <results>/dedup_dataset/{dataset}.parquet                 … without repetitions
     <results>/augment_dataset/{dataset}.parquet               … with tests shown in some instructions
     <results>/build_preferences/{dataset}.{pairs,labels,tasks}.parquet   rows for DPO, KTO and reinforcement learning
     <results>/build_dataset/{dataset}/                        the published folder: parquet and a card
     <results>/build_viewer/{dataset}/                         a page to search kept and dropped responses
     <results>/check_funnels/totals.json                       every stage's funnel, if no row is lost or made up
Row stages also write .dropped.parquet, with reasons, and .funnel.json.
"""

from selfcodealign.planned_matrix import matrix_recipe, matrix_weights


rule select_responses:
    """Choose the responses that a dataset is made of."""
    input:
        script=script("select_responses"),
        decided_by=decided_by("select_responses"),
        verdicts=lambda wildcards: PLAN.of_generation(PLAN.verdicts, wildcards.dataset),
        consensus=of(PLAN.agreement, "dataset"),
        assertions=of(PLAN.assertion_counts, "dataset"),
        weights=lambda wildcards: matrix_weights(PLAN, wildcards.dataset),
    output:
        rows="<results>/select_responses/{dataset}.parquet",
        dropped="<results>/select_responses/{dataset}.dropped.parquet",
        funnel="<results>/select_responses/{dataset}.funnel.json",
    log:
        "<logs>/select_responses/{dataset}.log",
    benchmark:
        "<timings>/select_responses/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=120,
    params:
        mode=CONFIG.mode,
        run_seed=CONFIG.seed,
        flags=lambda wildcards: written_flags(PLAN.selection(wildcards.dataset) | SAMPLES.stopping(wildcards.dataset)),
    message:
        "Selecting responses for dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --verdicts {input.verdicts:q} \
            --consensus {input.consensus:q} \
            --assertions {input.assertions:q} \
            --weights {input.weights:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            --run-seed {params.run_seed} \
            {params.flags}
        """


rule decontaminate_dataset:
    """Drop rows that overlap with a benchmark."""
    input:
        script=script("decontaminate_dataset"),
        decided_by=decided_by("decontaminate_dataset"),
        chosen=PLAN.rows_before("decontaminate_dataset"),
        implicit=list(PLAN.kept_out.values()),
    output:
        rows="<results>/decontaminate_dataset/{dataset}.parquet",
        dropped="<results>/decontaminate_dataset/{dataset}.dropped.parquet",
        funnel="<results>/decontaminate_dataset/{dataset}.funnel.json",
        overlaps="<results>/decontaminate_dataset/{dataset}.overlaps.json",
    log:
        "<logs>/decontaminate_dataset/{dataset}.log",
    benchmark:
        "<timings>/decontaminate_dataset/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=60,
    params:
        mode=CONFIG.mode,
        flags=flags("decontaminate_dataset"),
        benchmarks=PLAN.compared,
    message:
        "Comparing dataset {wildcards.dataset} with benchmarks"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --chosen {input.chosen:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --overlaps {output.overlaps:q} \
            --mode {params.mode} \
            --benchmarks {params.benchmarks:q} \
            {params.flags}
        """


rule dedup_dataset:
    """Drop rows that say again what another row says."""
    input:
        script=script("dedup_dataset"),
        decided_by=decided_by("dedup_dataset"),
        chosen=PLAN.rows_before("dedup_dataset"),
    output:
        rows="<results>/dedup_dataset/{dataset}.parquet",
        dropped="<results>/dedup_dataset/{dataset}.dropped.parquet",
        funnel="<results>/dedup_dataset/{dataset}.funnel.json",
    log:
        "<logs>/dedup_dataset/{dataset}.log",
    benchmark:
        "<timings>/dedup_dataset/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=60,
    params:
        mode=CONFIG.mode,
        flags=flags("dedup_dataset"),
    message:
        "Deduplicating dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --chosen {input.chosen:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            {params.flags}
        """


rule augment_dataset:
    """Show some of the tests in some instructions."""
    input:
        script=script("augment_dataset"),
        decided_by=decided_by("augment_dataset"),
        chosen=PLAN.rows_before("augment_dataset"),
    output:
        rows="<results>/augment_dataset/{dataset}.parquet",
        dropped="<results>/augment_dataset/{dataset}.dropped.parquet",
        funnel="<results>/augment_dataset/{dataset}.funnel.json",
    log:
        "<logs>/augment_dataset/{dataset}.log",
    benchmark:
        "<timings>/augment_dataset/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_000),
        runtime=30,
    params:
        mode=CONFIG.mode,
        run_seed=CONFIG.seed,
        flags=flags("augment_dataset", lambda wildcards: PLAN.augmentation(wildcards.dataset)),
    message:
        "Showing tests in some instructions of dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --chosen {input.chosen:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            --run-seed {params.run_seed} \
            {params.flags}
        """


rule build_preferences:
    """Turn passing and failing responses into preference pairs, labels and tasks."""
    input:
        script=script("build_preferences"),
        decided_by=decided_by("build_preferences"),
        chosen=PLAN.rows_before("build_preferences"),
        verdicts=lambda wildcards: PLAN.of_generation(PLAN.verdicts, wildcards.dataset),
        weights=lambda wildcards: matrix_weights(PLAN, wildcards.dataset),
        implicit=list(PLAN.kept_out.values()),
    output:
        pairs="<results>/build_preferences/{dataset}.pairs.parquet",
        labels="<results>/build_preferences/{dataset}.labels.parquet",
        tasks="<results>/build_preferences/{dataset}.tasks.parquet",
        dropped="<results>/build_preferences/{dataset}.dropped.parquet",
        funnel="<results>/build_preferences/{dataset}.funnel.json",
    log:
        "<logs>/build_preferences/{dataset}.log",
    benchmark:
        "<timings>/build_preferences/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=60,
    params:
        mode=CONFIG.mode,
        run_seed=CONFIG.seed,
        flags=flags("build_preferences", lambda _: config["decontaminate_dataset"]),
        benchmarks=PLAN.compared,
    message:
        "Building preference data of dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --chosen {input.chosen:q} \
            --verdicts {input.verdicts:q} \
            --weights {input.weights:q} \
            --pairs {output.pairs:q} \
            --labels {output.labels:q} \
            --tasks {output.tasks:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            --run-seed {params.run_seed} \
            --benchmarks {params.benchmarks:q} \
            {params.flags}
        """


rule build_dataset:
    """Write a dataset as it is published: parquet files and a card."""
    input:
        script=script("build_dataset"),
        decided_by=decided_by("build_dataset"),
        chosen=PLAN.rows_before("build_dataset"),
        siblings=of(PLAN.siblings, "dataset"),
        seeds=lambda wildcards: PLAN.gathered(wildcards.dataset, ".parquet"),
        pairs="<results>/build_preferences/{dataset}.pairs.parquet",
        labels="<results>/build_preferences/{dataset}.labels.parquet",
        tasks="<results>/build_preferences/{dataset}.tasks.parquet",
        funnels=lambda wildcards: PLAN.files_before(wildcards.dataset, ".funnel.json"),
        dropped_before=lambda wildcards: PLAN.files_before(wildcards.dataset, ".dropped.parquet", "sanitize_responses"),
    output:
        folder=directory("<results>/build_dataset/{dataset}"),
        dropped="<results>/build_dataset/{dataset}.dropped.parquet",
        funnel="<results>/build_dataset/{dataset}.funnel.json",
    log:
        "<logs>/build_dataset/{dataset}.log",
    benchmark:
        "<timings>/build_dataset/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=60,
    params:
        name=lambda wildcards: wildcards.dataset,
        run_seed=CONFIG.seed,
        recipe=lambda wildcards: [
            *PLAN.recipe(wildcards.dataset),
            *SAMPLES.recipe(wildcards.dataset),
            *matrix_recipe(PLAN, wildcards.dataset),
        ],
    message:
        "Building dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --name {params.name:q} \
            --chosen {input.chosen:q} \
            --siblings {input.siblings:q} \
            --seeds {input.seeds:q} \
            --pairs {input.pairs:q} \
            --labels {input.labels:q} \
            --tasks {input.tasks:q} \
            --funnels {input.funnels:q} \
            --dropped-before {input.dropped_before:q} \
            --folder {output.folder:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --run-seed {params.run_seed} \
            --recipe {params.recipe:q}
        """


rule build_viewer:
    """Write a page in which a dataset's responses, kept and dropped, can be searched."""
    input:
        script=script("build_viewer"),
        decided_by=decided_by("build_viewer"),
        verdicts=lambda wildcards: PLAN.of_generation(PLAN.verdicts, wildcards.dataset),
        weights=lambda wildcards: matrix_weights(PLAN, wildcards.dataset),
        sanitized=lambda wildcards: PLAN.of_generation("sanitize_responses", wildcards.dataset, ".dropped.parquet"),
        chosen=collect(
            "<results>/{stage}/{{dataset}}.dropped.parquet",
            stage=[*PLAN.chain, "build_dataset"],
        ),
        dataset="<results>/build_dataset/{dataset}",
    output:
        folder=directory("<results>/build_viewer/{dataset}"),
    log:
        "<logs>/build_viewer/{dataset}.log",
    benchmark:
        "<timings>/build_viewer/{dataset}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=60,
    params:
        name=lambda wildcards: wildcards.dataset,
        run_seed=CONFIG.seed,
        flags=flags("build_viewer"),
    message:
        "Writing the page of dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --name {params.name:q} \
            --verdicts {input.verdicts:q} \
            --weights {input.weights:q} \
            --sanitized {input.sanitized:q} \
            --chosen {input.chosen:q} \
            --dataset {input.dataset:q} \
            --folder {output.folder:q} \
            --run-seed {params.run_seed} \
            {params.flags}
        """


rule check_funnels:
    """Check that no row appears or vanishes between source file and dataset."""
    input:
        script=script("check_funnels"),
        decided_by=decided_by("check_funnels"),
        funnels=PLAN.funnels(),
    output:
        totals="<results>/check_funnels/totals.json",
    log:
        "<logs>/check_funnels/totals.log",
    benchmark:
        "<timings>/check_funnels/totals.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_000),
        runtime=30,
    params:
        links=PLAN.funnel_links(),
    message:
        "Checking that no row was lost"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --funnels {input.funnels:q} \
            --totals {output.totals:q} \
            --links {params.links:q}
        """
