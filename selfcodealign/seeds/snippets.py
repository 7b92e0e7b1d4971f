"""Cut random runs of lines out of source files: the seeds of the paper's ablation (table 10).

Follows the published rules: files of 10 to 5,000 lines, read in chunks of 100 lines from the end; from each chunk 5 to
30 consecutive lines; runs of blank lines joined, tabs as four spaces, common indentation removed; text without letters
or digits dropped. Draws depend on the run seed, the file and the chunk, never on the order of files.
"""

import re
import textwrap
from collections.abc import Iterator

from selfcodealign.config.seeds import SampleSnippets
from selfcodealign.ids import rng_for
from selfcodealign.seeds.extraction import Found

_BLANK_LINES = re.compile(r"\n\n+")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]")


def why_unfit(text: str, limits: SampleSnippets) -> str | None:
    """Return why a file gives no snippets, or None."""
    lines = text.count("\n") + 1
    if lines < limits.min_file_lines:
        return "too_few_lines"
    return "too_many_lines" if lines > limits.max_file_lines else None


def snippets(text: str, name: str, *, run_seed: int, limits: SampleSnippets) -> Iterator[Found]:
    """Yield one snippet for each chunk of a file, from the last chunk to the first.

    Args:
        text: the file.
        name: what the draws depend on besides the run seed: repository, path and content of the file.
        run_seed: seed of the run.
        limits: sizes.
    """
    lines = text.split("\n")
    for end in range(len(lines), 0, -limits.chunk_lines):
        start = max(0, end - limits.chunk_lines)
        random = rng_for(run_seed, "sample_snippets", f"{name}/{len(lines) - end}")
        wanted = random.randint(limits.min_lines, limits.max_lines)
        first = random.randrange(start, max(start + 1, end - wanted + 1))
        snippet = tidy("\n".join(lines[first : min(end, first + wanted)]))
        if _WORD.search(snippet) and snippet.count("\n") + 1 >= limits.min_lines:
            yield Found(snippet, first + 1)


def tidy(text: str) -> str:
    """Join runs of blank lines, turn tabs into four spaces, remove common indentation and outer blank lines."""
    return textwrap.dedent(_BLANK_LINES.sub("\n\n", text.replace("\t", "    "))).strip("\n").rstrip()


def fingerprint(text: str) -> str:
    """Return a snippet without white space: snippets with equal fingerprints are the same."""
    return _SPACE.sub("", text)
