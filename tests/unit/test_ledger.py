"""Finished work survives being killed, and never mixes with work done under other settings."""

from selfcodealign.ledger import Ledger


def test_finished_records_are_found_again(tmp_path):
    with Ledger(tmp_path, {"n": 1}) as ledger:
        ledger.append("a", {"text": "lone surrogate \ud800"})
        ledger.append("b", {"text": "two"})
    with Ledger(tmp_path, {"n": 1}) as ledger:
        assert "a" in ledger
        assert ledger.get("b") == {"text": "two"}
        assert [row_id for row_id, _ in ledger.records()] == ["a", "b"]


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
        assert dict(ledger.records()) == {"a": {"v": 1}, "b": {"v": 2}, "c": {"v": 3}}


def test_other_settings_start_afresh_and_keep_the_old_file(tmp_path):
    with Ledger(tmp_path, {"temperature": 0.7}) as ledger:
        ledger.append("a", {})
    with Ledger(tmp_path, {"temperature": 0.2}) as ledger:
        assert len(ledger) == 0
    assert (tmp_path / "ledger.outdated.jsonl").exists()


def test_records_can_be_read_before_they_are_synced(tmp_path):
    with Ledger(tmp_path, {}) as ledger:
        ledger.append("a", {"v": 1})
        assert ledger.get("a") == {"v": 1}
