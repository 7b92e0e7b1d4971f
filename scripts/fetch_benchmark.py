"""Fetch a benchmark's problems from its authors, or take a local file, and name their version by content hash."""

import gzip
import json
import logging
import tempfile
from pathlib import Path

from selfcodealign.config.evaluation import FetchBenchmark
from selfcodealign.evaluation import base, data
from selfcodealign.evaluation.base import Benchmark
from selfcodealign.rows_io import write_json
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def joined(benchmark: Benchmark, files: list[Path]) -> bytes:
    """Return the records of several files as JSON Lines."""
    return "".join(json.dumps(record) + "\n" for record in benchmark.joined(files)).encode()


def main(benchmark: str, problems: Path, about: Path, *, settings: FetchBenchmark) -> None:
    """Fetch a benchmark's problems, or take a local file.

    Args:
        benchmark: name of the benchmark.
        problems: where to keep the problems, gzipped (the authors of DS-1000 ask for that).
        about: version, sha256 and number of records, as JSON.
        settings: which file or version to take; several files are joined.
    """
    kind = base.get(benchmark)
    if files := [Path(name) for name in settings.files]:
        content = data.content(files[0]) if len(files) == 1 else joined(kind, files)
        origin = " + ".join(path.name for path in files)
    else:
        source = kind.source(settings.version)
        origin = source.url
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "download"
            data.fetch(source, target)
            content = data.content(target)
    problems.parent.mkdir(parents=True, exist_ok=True)
    # A fixed time in the header: equal content gives equal bytes.
    problems.write_bytes(gzip.compress(content, mtime=0))
    found = kind.tasks(problems) if settings.version == base.WHOLE else kind.problems(problems)
    data.refuse_other_benchmark(kind, problems)
    known = data.version_of(kind, problems)
    write_json(
        about,
        {
            "benchmark": kind.name,
            "origin": origin,
            "problems": len(found),
            "sha256": data.sha256(problems),
            "version": known.version if known else None,
        },
    )
    log.info("%s: %d problems, version %s", kind.title, len(found), known.version if known else "unpublished")


if __name__ == "__main__":
    run(main)
