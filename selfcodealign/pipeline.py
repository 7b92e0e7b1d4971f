"""The order of the data path, for everything that shows it to a person."""

STAGES: dict[str, str] = {
    "extract_functions": "top-level functions with a docstring, found in source files",
    "sample_snippets": "random runs of lines, for the ablation without functions",
    "dedup_functions": "near-duplicates removed across all shards",
    "infer_imports": "missing imports added",
    "typecheck_functions": "functions that a type checker rejects removed",
    "filter_seeds": "documented, self-contained functions of a teachable size kept",
    "decontaminate_seeds": "overlap with benchmarks removed",
    "judge_seeds": "functions whose docstring suffices kept, as the model judges",
    "gather_seeds": "seeds of all shards collected and cut into seed shards",
    "extract_concepts": "concepts read off each seed",
    "write_instructions": "a task written from the concepts",
    "write_responses": "several responses with tests written for each task",
    "sanitize_responses": "responses split into code and tests, malformed ones removed",
    "verify_responses": "each response run against its own tests in the sandbox",
    "select_responses": "at most a few responses chosen for each instruction",
    "dedup_dataset": "near-duplicate rows removed",
    "decontaminate_dataset": "rows that overlap with benchmarks removed",
    "augment_dataset": "an assertion added to some instructions",
    "build_dataset": "the training set as it is published",
}
"""Row stages from source file to training row, each with what it leaves behind."""

POSITION = {name: number for number, name in enumerate(STAGES)}


def position(stage: str) -> tuple[int, str]:
    """Return a sort key that puts stages in the order of the data path, unknown ones last."""
    return POSITION.get(stage, len(POSITION)), stage
