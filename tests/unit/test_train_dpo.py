"""The settings of preference training."""

import pytest

from scripts.train_dpo import main
from selfcodealign.config import TrainDpo
from selfcodealign.errors import UserError
from selfcodealign.stage import read
from selfcodealign.training.dpo import pairs_of_each


def test_the_script_has_the_defaults_of_the_config() -> None:
    paths = [f"--{name}=x" for name in ("pairs", "base", "model", "metrics", "funnel", "work")] + ["--run-seed=1"]
    assert read(main, paths)["settings"] == TrainDpo()
    assert read(main, [*paths, "--beta=0.2"])["settings"] == TrainDpo(beta=0.2)


def test_processes_share_a_step_evenly_or_not_at_all() -> None:
    assert pairs_of_each(32, 4) == 8
    with pytest.raises(UserError, match="train_dpo.batch_rows is 32; make it a multiple of the 3 processes"):
        pairs_of_each(32, 3)
