"""Settings of the raw files and of the stages that turn them into seeds."""

from typing import Annotated, Literal

from pydantic import Field

from selfcodealign.config.section import Count, Section, Share


class Columns(Section):
    """Names of a raw file's columns."""

    content_column: str = Field(default="content", description="column with the text of a file")
    repo_column: str = Field(default="max_stars_repo_name", description="column with the repository; may be absent")
    path_column: str = Field(default="max_stars_repo_path", description="column with the path; may be absent")
    licence_column: str = Field(
        default="max_stars_repo_licenses", description="column with the licences; may be absent"
    )

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The columns of text, repository, path and licences."""
        return self.content_column, self.repo_column, self.path_column, self.licence_column


class Data(Columns):
    """The raw source files from which seeds are extracted."""

    raw_shards: str | list[str] = Field(
        default=["results/make_demo_shards/00000.parquet", "results/make_demo_shards/00001.parquet"],
        description=(
            "parquet, Arrow or JSON files: a list, a glob, or a pattern "
            "hf://datasets/ORG/NAME@REVISION/PATH-*-of-00144.parquet"
        ),
    )
    seeds: str | list[str] | None = Field(
        default=None,
        description=(
            "parquet files of filtered seeds, with rows like those of `decontaminate_seeds`: a list "
            "or a glob; the run then starts at the judge and reads no raw files"
        ),
    )
    kept_out: Literal["paper"] | list[str] | None = Field(
        default=None,
        description=(
            "benchmarks to fetch and keep out of the data, besides those that the run measures: "
            "`paper` for all that the paper measures, a list of names, or `[]` for none; if empty, "
            "`paper`, or none with `demo: true`"
        ),
    )
    other_benchmarks: dict[str, str] = Field(
        default={},
        description=(
            "benchmark files to keep out of the data, as name: file (parquet or JSON): other "
            "benchmarks, and those of `kept_out` that cannot be fetched; if the name is not a known "
            "benchmark, every text counts"
        ),
    )


class MakeLibraryShards(Section):
    """Write raw shards of the running interpreter's standard library and installed packages."""

    files: Count = Field(default=4_000, description="modules, chosen by a hash of their names")
    min_bytes: int = Field(default=500, ge=0, description="minimum size of a module, in bytes")
    max_bytes: Count = Field(default=60_000, description="maximum size of a module, in bytes")


class ExtractFunctions(Section):
    """Extract documented top-level functions from the raw source files."""

    max_file_mb: float = Field(
        default=5.0, gt=0, description="files above this size in megabytes are dropped; unused in mode `reference`"
    )


class Shingles(Section):
    """How functions are cut into the shingles by which they are compared."""

    ngram: Count = Field(default=5, description="words in a shingle")
    min_tokens: Count = Field(default=5, description="functions of fewer words are compared only for equality")


class SignFunctions(Shingles):
    """Compute the MinHash band keys of the functions."""

    permutations: Count | None = Field(
        default=None, description="values in a signature; if empty, 300, and 250 in mode `reference`"
    )
    bands: Count | None = Field(
        default=None, description="bands of a signature; if empty, 60, and 41 in mode `reference`"
    )
    rows: Count | None = Field(default=None, description="rows of a band; if empty, 5, and 6 in mode `reference`")
    permutation_seed: int = Field(default=42, description="random seed of the permutations")


class MatchFunctions(Section):
    """Merge the band keys of all shards into candidates for near-duplicates."""

    groups: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="jobs that share the bands; for a corpus of 10^8 functions, as many as bands"
    )


class ClusterFunctions(Section):
    """Compare candidates exactly and join near-duplicates."""

    threshold: Share = Field(default=0.5, description="minimum Jaccard index of near-duplicates (paper B.2)")


class TypecheckFunctions(Section):
    """Keep functions in which pyright finds no error."""

    batch_size: Count = Field(default=4_000, description="functions per pyright process; verdicts do not depend on it")
    python: str | None = Field(
        default=None,
        description=(
            "interpreter in whose packages imports are resolved; if empty, that of .venv-typecheck, "
            "which `make setup` makes from envs/typecheck.txt, or the running one if that does not "
            "exist"
        ),
    )
    start_s: float = Field(
        default=120.0, gt=0, description="time limit of a pyright process in seconds, before the time per function"
    )
    function_s: float = Field(default=0.2, gt=0, description="additional seconds for each function of the batch")
    heap_mb: Count = Field(
        default=1_200,
        description="memory for Node's heap; after a crash twice as much, for functions that import packages",
    )


class FilterSeeds(Section):
    """Keep functions that are useful as seeds; mode `reference` uses the published lists instead."""

    min_lines: Count = Field(default=1, description="minimum lines of a function with its imports")
    max_lines: Count = Field(default=150, description="maximum lines of a function with its imports")
    banned_modules: list[str] = Field(
        default=["argparse", "os", "subprocess", "sys", "setuptools", "distutils", "matplotlib", "seaborn"],
        description="a function that imports one of these modules is dropped",
    )


class DecontaminateSeeds(Section):
    """Drop functions that overlap with a benchmark; mode `reference` searches for the published substrings."""

    ngram: Count = Field(default=10, description="words in a run (a sequence of words that is compared)")
    overlap: float = Field(
        default=0.5,
        gt=0,
        description="minimum share of a task's runs for an overlap; above 1, only exact text is searched",
    )
    min_tokens: Count = Field(
        default=8, description="prompts and solutions of fewer words are not searched as exact text"
    )


class SampleSnippets(Section):
    """Take random consecutive lines from source files, for the ablation without functions (paper, table 10)."""

    min_file_lines: Count = Field(default=10, description="minimum lines of a file")
    max_file_lines: Count = Field(default=5_000, description="maximum lines of a file")
    chunk_lines: Count = Field(default=100, description="one snippet is taken from each chunk of this many lines")
    min_lines: Count = Field(default=5, description="minimum lines of a snippet")
    max_lines: Count = Field(default=30, description="maximum lines of a snippet")


class GatherSeeds(Section):
    """Collect the judged seeds of all shards, ordered by id, and divide them into seed shards."""

    shards: Count = Field(default=2, description="seed shards: the unit of parallel work in generation and execution")
    limit: Count | None = Field(default=None, description="maximum number of seeds to keep; all if empty")
