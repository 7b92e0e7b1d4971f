"""On 1,300 of the authors' solutions, right and wrong, the sandbox agrees with `python file.py`."""

import pytest

from tests.published import published
from tests.sandbox.test_parity import FILES, assert_parity, samples_of


@pytest.mark.timeout(900)
def test_verdicts_differ_from_plain_python_in_at_most_one_in_a_thousand(tmp_path):
    assert_parity(samples_of(*map(published, FILES), 1_300), tmp_path)
