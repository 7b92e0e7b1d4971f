"""A whole shard of The Stack: equal to the published extraction, within the memory that profiles give a job."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from scripts import extract_functions
from selfcodealign.config.seeds import Columns, ExtractFunctions
from selfcodealign.rows_io import read_rows
from tests.published import PIECES, published, whole
from tests.seed_rows import outputs

SMALL = "data/stack-small/data-00000-of-00001.parquet"
SHARD = "data/stack/data-00000-of-00008.parquet"


def test_reference_mode_extracts_what_the_published_code_extracts(tmp_path):
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    settings = {"columns": Columns(), "settings": ExtractFunctions()}
    extract_functions.main(str(published(SHARD)), **places, mode="reference", **settings)
    theirs = set(pq.read_table(published("data/stack/reference-functions-00000.parquet"))["content"].to_pylist())
    assert {row["content"] for row in read_rows(places["functions"], ["content"])} == theirs
    assert len(theirs) == 11_430


def large_shard(folder):
    """Make a shard of 123 MB out of the piece."""
    piece = pq.read_table(PIECES / SMALL)
    copies = -(-123_000_000 // sum(piece["size"].to_pylist()))
    pq.write_table(pa.concat_tables([piece] * copies).combine_chunks(), folder / "large.parquet")
    return folder / "large.parquet"


def test_workers_stay_below_1_5_gb(root, tmp_path):
    """Peak memory of extraction and signing on a shard of 123 MB, in processes of their own."""
    # Not ru_maxrss: across exec the kernel keeps in it the peak of the process that started this one, the tests.
    code = "import re, runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__');"
    code += "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    flags = [word for name, path in places.items() for word in (f"--{name}", str(path))]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    shard = whole(SHARD) or large_shard(tmp_path)
    for command in (
        ["scripts/extract_functions.py", "--shard", str(shard), *flags],
        ["scripts/sign_functions.py", "--functions", str(places["functions"]), "--band-keys", str(tmp_path / "k.npy")],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout.split()[-1]) < 1_500
