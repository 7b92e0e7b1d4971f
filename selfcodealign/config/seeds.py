"""Settings of the raw files and of the stages that turn them into seeds."""

from typing import Annotated, Literal

from pydantic import Field

from selfcodealign.config.section import Count, Section, Share


class Columns(Section):
    """Names of a raw file's columns."""

    content_column: str = Field(default="content", description="column with a file's text")
    repo_column: str = Field(default="max_stars_repo_name", description="column with the repository, may be absent")
    path_column: str = Field(default="max_stars_repo_path", description="column with the path, may be absent")
    licence_column: str = Field(
        default="max_stars_repo_licenses", description="column with the licences, may be absent"
    )

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The columns of text, repository, path and licences."""
        return self.content_column, self.repo_column, self.path_column, self.licence_column


class Data(Columns):
    """The raw source files that seeds are gathered from."""

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
            "parquet files of seeds that are filtered already, rows as `decontaminate_seeds` leaves them: a list or a "
            "glob; the run then begins at the judge and reads no raw files"
        ),
    )
    kept_out: Literal["paper"] | list[str] | None = Field(
        default=None,
        description=(
            "benchmarks that are fetched and kept out of the data, besides those that the run measures: `paper` for "
            "all that the paper measures, or their names, `[]` for none; `paper` if empty, none with `demo: true`"
        ),
    )
    other_benchmarks: dict[str, str] = Field(
        default={},
        description=(
            "benchmark files to keep out of the data, as name: file, parquet or JSON: further ones, and those of "
            "`kept_out` that cannot be fetched; of a name that is no benchmark here, every text counts"
        ),
    )


class MakeLibraryShards(Section):
    """Write raw shards of the running interpreter's standard library and installed packages."""

    files: Count = Field(default=4_000, description="modules, chosen by a hash of their names")
    min_bytes: int = Field(default=500, ge=0, description="least bytes of a module")
    max_bytes: Count = Field(default=60_000, description="most bytes of a module")


class ExtractFunctions(Section):
    """Cut documented top-level functions out of the raw source files."""

    max_file_mb: float = Field(
        default=5.0, gt=0, description="files above this many megabytes are set aside; unused in mode `reference`"
    )


class Shingles(Section):
    """How functions are cut into the shingles by which they are compared."""

    ngram: Count = Field(default=5, description="words in a shingle")
    min_tokens: Count = Field(default=5, description="functions of fewer words are compared for equality only")


class SignFunctions(Shingles):
    """Compute the MinHash band keys of the functions."""

    permutations: Count | None = Field(
        default=None, description="values in a signature; 300, and 250 in mode `reference`, if empty"
    )
    bands: Count | None = Field(
        default=None, description="bands of a signature; 60, and 41 in mode `reference`, if empty"
    )
    rows: Count | None = Field(default=None, description="rows of a band; 5, and 6 in mode `reference`, if empty")
    permutation_seed: int = Field(default=42, description="seed of the permutations")


class MatchFunctions(Section):
    """Merge the band keys of all shards into candidates for near-duplicates."""

    groups: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="jobs that share the bands; as many as bands for a corpus of 10^8 functions"
    )


class ClusterFunctions(Section):
    """Compare candidates exactly and join near-duplicates."""

    threshold: Share = Field(default=0.5, description="least Jaccard index of near-duplicates (paper B.2)")


class TypecheckFunctions(Section):
    """Keep functions in which pyright finds no error."""

    batch_size: Count = Field(default=4_000, description="functions per pyright process; verdicts do not depend on it")
    python: str | None = Field(
        default=None,
        description=(
            "interpreter whose packages imports resolve to; if empty, that of .venv-typecheck, which `make setup` "
            "makes from envs/typecheck.txt, or the running one where it is not there"
        ),
    )
    start_s: float = Field(default=120.0, gt=0, description="seconds a pyright process may take, whatever its batch")
    function_s: float = Field(default=0.2, gt=0, description="further seconds for each function of the batch")
    heap_mb: Count = Field(
        default=1_200,
        description="memory for Node's heap; twice as much for functions that import packages, after a crash",
    )


class FilterSeeds(Section):
    """Keep functions worth learning from; mode `reference` uses the published lists instead."""

    min_lines: Count = Field(default=1, description="fewest lines of a function with its imports")
    max_lines: Count = Field(default=150, description="most lines of a function with its imports")
    banned_modules: list[str] = Field(
        default=["argparse", "os", "subprocess", "sys", "setuptools", "distutils", "matplotlib", "seaborn"],
        description="a function that imports one of these modules is dropped",
    )


class DecontaminateSeeds(Section):
    """Drop functions that overlap with a benchmark; mode `reference` looks for the published substrings instead."""

    ngram: Count = Field(default=10, description="words in a run that is compared")
    overlap: float = Field(
        default=0.5, gt=0, description="share of a task's runs that makes an overlap; above 1 looks for exact text only"
    )
    min_tokens: Count = Field(default=8, description="prompts and solutions of fewer words are not looked for exactly")


class SampleSnippets(Section):
    """Cut random runs of lines out of source files, for the ablation without functions (paper, table 10)."""

    min_file_lines: Count = Field(default=10, description="fewest lines of a file")
    max_file_lines: Count = Field(default=5_000, description="most lines of a file")
    chunk_lines: Count = Field(default=100, description="one snippet is taken from each chunk of this many lines")
    min_lines: Count = Field(default=5, description="fewest lines of a snippet")
    max_lines: Count = Field(default=30, description="most lines of a snippet")


class GatherSeeds(Section):
    """Collect the judged seeds of all shards, ordered by id, and cut them into seed shards."""

    shards: Count = Field(default=2, description="seed shards: the unit of parallel work in generation and execution")
    limit: Count | None = Field(default=None, description="most seeds to keep; all if empty")
