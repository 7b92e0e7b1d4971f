"""Run several training configurations in one process group; a new start for each would cost ten seconds."""

import json
import sys
from pathlib import Path

from selfcodealign.config.training import Start, TrainSft
from selfcodealign.training.sft import Paths, fine_tune


def main() -> None:
    """Train each run of the job given as JSON."""
    job = json.loads(sys.argv[1])
    for number, changes in enumerate(job["runs"]):
        from accelerate.state import AcceleratorState, PartialState

        folder = Path(job["out"]) / str(number)
        paths = Paths(
            [Path(job["dataset"])],
            folder / "model",
            folder / "metrics.jsonl",
            folder / "example.json",
            folder / "funnel.json",
            folder / "work",
        )
        mode = changes.pop("mode", "fixed")
        fine_tune(paths, Start(base=job["base"]), TrainSft(**changes), job["seed"], mode)
        # A process normally trains once; transformers keeps its DeepSpeed state in a singleton.
        AcceleratorState._reset_state()
        PartialState._reset_state()


if __name__ == "__main__":
    main()
