import hashlib

import pytest

from scripts.fetch_reference_prompts import SHA256, main, why_refused
from selfcodealign.errors import UserError


def test_the_published_file_is_recognised_by_its_hash(shared, tmp_path):
    source = shared / "reference" / "self-ossinstruct-fewshot.txt"
    assert why_refused(source.read_bytes(), SHA256) is None
    main(tmp_path / "prompts.txt", url=source.as_uri())
    assert (tmp_path / "prompts.txt").read_bytes() == source.read_bytes()


def test_another_file_is_refused_and_not_kept(tmp_path):
    source = tmp_path / "other.txt"
    source.write_text("something else")
    with pytest.raises(UserError, match=f"its sha256 is {hashlib.sha256(b'something else').hexdigest()}"):
        main(tmp_path / "prompts.txt", url=source.as_uri())
    assert not (tmp_path / "prompts.txt").exists()


def test_an_address_that_cannot_be_reached_says_what_else_to_do(tmp_path):
    with pytest.raises(UserError, match=r"name the file in prompts\.examples"):
        main(tmp_path / "prompts.txt", url=(tmp_path / "nowhere.txt").as_uri())
