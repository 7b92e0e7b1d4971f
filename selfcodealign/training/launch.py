"""torchrun, ending with the one sentence that says what is wrong: `python -m selfcodealign.training.launch …`.

torchrun's own report of a failed process is forty lines long and comes last; here it is left out.
"""

import os
import sys
import tempfile
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from selfcodealign.errors import ERROR_FILE


def main() -> None:
    """Start the processes as torchrun does, wait for them, and repeat the sentence of one that failed."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "error.txt"
        os.environ[ERROR_FILE] = str(told)
        try:
            run.run(run.parse_args(sys.argv[1:]))
        except ChildFailedError as error:
            first = error.get_first_failure()[1]
            sentence = told.read_text() if told.is_file() else f"a process ended with status {first.exitcode}"
            print(f"error: {sentence}", file=sys.stderr)
            raise SystemExit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode) from None


if __name__ == "__main__":
    main()
