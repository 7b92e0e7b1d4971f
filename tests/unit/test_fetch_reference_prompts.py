import hashlib

import pytest

from scripts import fetch_reference_prompts
from scripts.fetch_reference_prompts import main, why_refused
from selfcodealign.errors import UserError
from tests.published import EXAMPLES, published


def test_the_published_file_is_recognised_by_its_hash(tmp_path, monkeypatch):
    source = published(EXAMPLES)
    assert why_refused(source.read_bytes()) is None
    monkeypatch.setattr(fetch_reference_prompts, "URL", source.as_uri())
    main(tmp_path / "prompts.txt")
    assert (tmp_path / "prompts.txt").read_bytes() == source.read_bytes()


def test_another_file_is_refused_and_not_kept(tmp_path, monkeypatch):
    source = tmp_path / "other.txt"
    source.write_text("something else")
    monkeypatch.setattr(fetch_reference_prompts, "URL", source.as_uri())
    with pytest.raises(UserError, match=f"its sha256 is {hashlib.sha256(b'something else').hexdigest()}"):
        main(tmp_path / "prompts.txt")
    assert not (tmp_path / "prompts.txt").exists()


def test_an_address_that_cannot_be_reached_says_what_else_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_reference_prompts, "URL", (tmp_path / "nowhere.txt").as_uri())
    with pytest.raises(UserError, match=r"name the file in prompts\.examples"):
        main(tmp_path / "prompts.txt")
