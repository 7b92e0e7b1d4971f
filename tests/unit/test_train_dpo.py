"""The settings of preference training."""

import inspect

import pytest

from scripts.train_dpo import main
from selfcodealign.config import TrainDpo
from selfcodealign.errors import UserError
from selfcodealign.training.dpo import pairs_of_each


def test_the_script_has_the_defaults_of_the_config() -> None:
    script = {name: item.default for name, item in inspect.signature(main).parameters.items()}
    assert {name: script[name] for name in TrainDpo.model_fields} == TrainDpo().model_dump()


def test_processes_share_a_step_evenly_or_not_at_all() -> None:
    assert pairs_of_each(32, 4) == 8
    with pytest.raises(UserError, match="train_dpo.batch_rows is 32; make it a multiple of the 3 processes"):
        pairs_of_each(32, 3)
