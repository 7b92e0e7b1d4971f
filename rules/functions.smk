"""
Functions: from raw source files to documented functions without near-duplicates (paper, appendix B).

IN   data.raw_shards                                    files of source code, parquet or JSONL
OUT  <results>/extract_functions/{shard}.parquet        top-level functions with a docstring
     <results>/sign_functions/{shard}.npy               their MinHash band keys
     <results>/match_functions/{group}.npy              candidates for near-duplicates, over all shards
     <results>/cluster_functions/clusters.npy           functions that lose against a near-duplicate
     <results>/dedup_functions/{shard}.parquet          one function of each cluster
     <results>/sample_snippets/{shard}.parquet          random runs of lines instead (an ablation)
Row stages also write .dropped.parquet, with reasons, and .funnel.json.
"""

from selfcodealign.config.seeds import Columns, Shingles

# Numbers over all shards meet in two places only: match_functions and cluster_functions.
BAND_GROUPS = [f"{number:02d}" for number in range(CONFIG.match_functions.groups)]


wildcard_constraints:
    group=r"\d{2}",


rule extract_functions:
    """Cut documented top-level functions out of raw source files."""
    input:
        script=script("extract_functions"),
        decided_by=decided_by("extract_functions"),
        shard=of(PLAN.raw_shard, "shard"),
    output:
        functions="<results>/extract_functions/{shard}.parquet",
        dropped="<results>/extract_functions/{shard}.dropped.parquet",
        funnel="<results>/extract_functions/{shard}.funnel.json",
    log:
        "<logs>/extract_functions/{shard}.log",
    benchmark:
        "<timings>/extract_functions/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    params:
        shard=lambda wildcards: PLAN.raw_shards[int(wildcards.shard)],
        mode=CONFIG.mode,
        columns=flags("data", kind=Columns),
        flags=flags("extract_functions"),
    message:
        "Extracting functions from shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --shard {params.shard:q} \
            --functions {output.functions:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            {params.columns} \
            {params.flags}
        """


rule sign_functions:
    """Compute the MinHash band keys of a shard's functions."""
    input:
        script=script("sign_functions"),
        decided_by=decided_by("sign_functions"),
        functions="<results>/extract_functions/{shard}.parquet",
    output:
        band_keys="<results>/sign_functions/{shard}.npy",
    log:
        "<logs>/sign_functions/{shard}.log",
    benchmark:
        "<timings>/sign_functions/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    params:
        mode=CONFIG.mode,
        flags=flags("sign_functions"),
    message:
        "Signing functions of shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --functions {input.functions:q} \
            --band-keys {output.band_keys:q} \
            --mode {params.mode} \
            {params.flags}
        """


rule match_functions:
    """Merge the band keys of all shards: functions that agree on a band are candidates."""
    input:
        script=script("match_functions"),
        decided_by=decided_by("match_functions"),
        band_keys=collect("<results>/sign_functions/{shard}.npy", shard=PLAN.shards),
    output:
        copies="<results>/match_functions/{group}.copies.npy",
        matches="<results>/match_functions/{group}.npy",
    log:
        "<logs>/match_functions/{group}.log",
    benchmark:
        "<timings>/match_functions/{group}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=120,
    params:
        group=lambda wildcards: int(wildcards.group),
        flags=flags("match_functions"),
    message:
        "Matching functions of all shards, group {wildcards.group} of the bands"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --band-keys {input.band_keys:q} \
            --copies {output.copies:q} \
            --matches {output.matches:q} \
            --group {params.group} \
            {params.flags}
        """


rule cluster_functions:
    """Compare candidates exactly, join near-duplicates over all shards and choose who survives."""
    input:
        script=script("cluster_functions"),
        decided_by=decided_by("cluster_functions"),
        functions=collect("<results>/extract_functions/{shard}.parquet", shard=PLAN.shards),
        band_keys=collect("<results>/sign_functions/{shard}.npy", shard=PLAN.shards),
        copies=collect("<results>/match_functions/{group}.copies.npy", group=BAND_GROUPS),
        matches=collect("<results>/match_functions/{group}.npy", group=BAND_GROUPS),
    output:
        clusters="<results>/cluster_functions/clusters.npy",
        short="<results>/cluster_functions/short.npy",
        counts="<results>/cluster_functions/counts.json",
    log:
        "<logs>/cluster_functions.log",
    benchmark:
        "<timings>/cluster_functions.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=240,
    params:
        mode=CONFIG.mode,
        shingles=flags("sign_functions", kind=Shingles),
        flags=flags("cluster_functions"),
    message:
        "Joining near-duplicate functions of all shards"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --functions {input.functions:q} \
            --band-keys {input.band_keys:q} \
            --copies {input.copies:q} \
            --matches {input.matches:q} \
            --clusters {output.clusters:q} \
            --short {output.short:q} \
            --counts {output.counts:q} \
            --mode {params.mode} \
            {params.shingles} \
            {params.flags}
        """


rule dedup_functions:
    """Keep one function of each cluster of near-duplicates."""
    input:
        script=script("dedup_functions"),
        decided_by=decided_by("dedup_functions"),
        functions="<results>/extract_functions/{shard}.parquet",
        band_keys=collect("<results>/sign_functions/{shard}.npy", shard=PLAN.shards),
        clusters="<results>/cluster_functions/clusters.npy",
        short="<results>/cluster_functions/short.npy",
    output:
        kept="<results>/dedup_functions/{shard}.parquet",
        dropped="<results>/dedup_functions/{shard}.dropped.parquet",
        funnel="<results>/dedup_functions/{shard}.funnel.json",
    log:
        "<logs>/dedup_functions/{shard}.log",
    benchmark:
        "<timings>/dedup_functions/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    params:
        shard=lambda wildcards: int(wildcards.shard),
    message:
        "Keeping one of each cluster, shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --functions {input.functions:q} \
            --shard {params.shard} \
            --band-keys {input.band_keys:q} \
            --clusters {input.clusters:q} \
            --short {input.short:q} \
            --kept {output.kept:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q}
        """


rule sample_snippets:
    """Cut random runs of lines out of raw source files: seeds for an ablation."""
    input:
        script=script("sample_snippets"),
        decided_by=decided_by("sample_snippets"),
        shard=of(PLAN.raw_shard, "shard"),
    output:
        seeds="<results>/sample_snippets/{shard}.parquet",
        dropped="<results>/sample_snippets/{shard}.dropped.parquet",
        funnel="<results>/sample_snippets/{shard}.funnel.json",
    log:
        "<logs>/sample_snippets/{shard}.log",
    benchmark:
        "<timings>/sample_snippets/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    params:
        shard=lambda wildcards: PLAN.raw_shards[int(wildcards.shard)],
        run_seed=CONFIG.seed,
        columns=flags("data", kind=Columns),
        flags=flags("sample_snippets"),
    message:
        "Sampling snippets from shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --shard {params.shard:q} \
            --seeds {output.seeds:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --run-seed {params.run_seed} \
            {params.columns} \
            {params.flags}
        """
