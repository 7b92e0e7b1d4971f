"""A shard's keys are those of its functions one by one."""

import numpy as np
import pytest

from scripts.sign_functions import main
from selfcodealign.config.seeds import SignFunctions
from selfcodealign.errors import UserError
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import write_rows
from selfcodealign.seeds import neardup
from tests.seed_rows import DOUBLE, function_row


@pytest.mark.parametrize(("mode", "bands"), [("fixed", 60), ("reference", 41)])
def test_keys_are_those_of_each_function(mode, bands, tmp_path):
    texts = [DOUBLE, DOUBLE.replace("double", "twice"), "x"]
    rows = [function_row(text, path=f"{n}.py") for n, text in enumerate(texts)]
    write_rows(tmp_path / "f.parquet", FunctionRow, rows)
    main(tmp_path / "f.parquet", tmp_path / "k.npy", mode=mode, settings=SignFunctions())
    matrix = neardup.load(tmp_path / "k.npy")
    hasher = neardup.hasher_of(mode, SignFunctions())
    assert matrix.shape == (neardup.FIRST_BAND + bands, 3)
    for n, text in enumerate(texts):
        assert matrix[neardup.FIRST_BAND :, n].tolist() == hasher.keys(text).tolist()
        assert matrix[neardup.ID, n] == neardup.id_key(rows[n]["id"])
    assert not matrix[neardup.FIRST_BAND :, 2].any(), "a text of one word has no keys"
    assert len(np.unique(matrix[neardup.CONTENT])) == 3


def test_an_empty_shard_has_no_keys(tmp_path):
    write_rows(tmp_path / "f.parquet", FunctionRow, [])
    main(tmp_path / "f.parquet", tmp_path / "k.npy", settings=SignFunctions())
    assert neardup.load(tmp_path / "k.npy").shape == (neardup.FIRST_BAND + 60, 0)


def test_parameters_that_cannot_be_met_name_the_section(tmp_path):
    with pytest.raises(UserError, match="sign_functions"):
        main(tmp_path / "f.parquet", tmp_path / "k.npy", settings=SignFunctions(bands=100, rows=5))
