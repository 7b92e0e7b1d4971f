"""Finished work survives being killed, and never mixes with work done under other settings."""

import pytest

from selfcodealign.ledger import Ledger, mark_of


def test_finished_records_are_found_again(tmp_path):
    with Ledger(tmp_path, {"n": 1}) as ledger:
        ledger.append("a", {"text": "lone surrogate \ud800"})
        ledger.append("b", {"text": "two"})
    with Ledger(tmp_path, {"n": 1}) as ledger:
        assert "a" in ledger
        assert ledger.get("b") == {"text": "two"}
        assert len(ledger) == 2


def test_a_torn_last_line_is_cut_off(tmp_path):
    with Ledger(tmp_path, {}) as ledger:
        ledger.append("a", {"v": 1})
    with ledger.path.open("ab") as file:
        file.write(b'{"id": "b", "rec')
    with Ledger(tmp_path, {}) as ledger:
        assert "b" not in ledger
        ledger.append("b", {"v": 2})
        ledger.append("c", {"v": 3})
    with Ledger(tmp_path, {}) as ledger:
        assert [ledger.get(name) for name in "abc"] == [{"v": 1}, {"v": 2}, {"v": 3}]
        assert len(ledger) == 3


@pytest.mark.parametrize("damage", [b"\0" * 5, b"\xff", b"\n"], ids=["zeros", "no text", "line cut in two"])
def test_a_line_that_a_failing_disk_left_damaged_ends_what_is_trusted(tmp_path, damage):
    with Ledger(tmp_path, {}) as ledger:
        for name in "abc":
            ledger.append(name, {"v": "some text"})
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b" text", damage)
    ledger.path.write_bytes(b"".join(lines))
    with Ledger(tmp_path, {}) as ledger:
        assert "a" in ledger
        assert "b" not in ledger
        assert "c" not in ledger
        ledger.append("b", {"v": 2})
    with Ledger(tmp_path, {}) as ledger:
        assert [ledger.get(name) for name in "ab"] == [{"v": "some text"}, {"v": 2}]
        assert len(ledger) == 2


def test_an_id_may_hold_any_character(tmp_path):
    names = ['with "quotes"', "back\\slash", "ünï\u2028", 'x", "record": {']
    with Ledger(tmp_path, {}) as ledger:
        for name in names:
            ledger.append(name, {"is": name})
    with Ledger(tmp_path, {}) as ledger:
        assert [ledger.get(name) for name in names] == [{"is": name} for name in names]


def test_other_settings_start_afresh_and_keep_the_old_file(tmp_path):
    with Ledger(tmp_path, {"temperature": 0.7}) as ledger:
        ledger.append("a", {})
    with Ledger(tmp_path, {"temperature": 0.2}) as ledger:
        assert len(ledger) == 0
    assert (tmp_path / "ledger.outdated.jsonl").exists()


def test_records_can_be_read_before_they_are_synced(tmp_path):
    with Ledger(tmp_path, {}) as ledger:
        for number in range(50):
            ledger.append(str(number), {"v": number})
            assert ledger.get(str(number)) == {"v": number}
            assert ledger.get(str(number // 2)) == {"v": number // 2}


def test_a_record_is_with_the_operating_system_as_soon_as_it_is_appended(tmp_path):
    with Ledger(tmp_path, {}) as ledger:
        ledger.append("a", {"v": 1})
        assert ledger.path.read_bytes().endswith(b'{"id": "a", "record": {"v": 1}}\n')


def test_a_record_made_of_another_text_is_forgotten_alone(tmp_path):
    with Ledger(tmp_path, {}) as ledger:
        for name in "abc":
            assert not ledger.holds(name, mark_of("text of " + name))
            ledger.append(name, {"is": name})
    with Ledger(tmp_path, {}) as ledger:
        texts = {"a": "text of a", "b": "new", "c": "text of c"}
        held = {name: ledger.holds(name, mark_of(text)) for name, text in texts.items()}
        assert held == {"a": True, "b": False, "c": True}
        assert "b" not in ledger
        ledger.append("b", {"is": "new b"})
    with Ledger(tmp_path, {}) as ledger:
        assert ledger.holds("b", mark_of("new"))
        assert ledger.get("b") == {"is": "new b"}
        assert not ledger.holds("b", mark_of("text of b")), "the first record must not come back"


def test_where_one_text_ends_counts():
    assert mark_of("ab", "c") != mark_of("a", "bc") != mark_of("abc")


def test_other_content_of_a_file_sets_a_ledger_aside_and_another_place_does_not(tmp_path):
    for folder, text in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "layout.yaml").write_text(text)
    with Ledger(tmp_path, {}, inputs=[tmp_path / "one/layout.yaml"]) as ledger:
        ledger.append("a", {})
    with Ledger(tmp_path, {}, inputs=[tmp_path / "two/layout.yaml"]) as ledger:
        assert "a" in ledger
    with Ledger(tmp_path, {}, inputs=[tmp_path / "three/layout.yaml"]) as ledger:
        assert "a" not in ledger


CODE = "def limit(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        ("# a comment\ndef limit( x ):\n\n    return (x + 1)\n", True),
        ('"""The module."""\n\n\ndef limit(x):\n    """Add one."""\n    return x + 1\n', True),
        ("def limit(x):\n    return x + 2\n", False),
        ("def limit(x):\n    return x + 1\n\n\nlimit = str\n", False),
    ],
    ids=["comments and layout", "docstrings", "a number", "another statement"],
)
def test_an_edit_of_what_decides_sets_a_ledger_aside(tmp_path, edit, same):
    for folder, text in (("before", CODE), ("after", edit)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rules.py").write_text(text)
    with Ledger(tmp_path, {}, decided_by=[tmp_path / "before/rules.py"]) as ledger:
        ledger.append("a", {})
    with Ledger(tmp_path, {}, decided_by=[tmp_path / "after/rules.py"]) as ledger:
        assert ("a" in ledger) == same
