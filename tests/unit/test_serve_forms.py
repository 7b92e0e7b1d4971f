"""What a request to the server may be, and how verdicts answer it in the forms of others; nothing is run here."""

import base64
import json
import pickle
import zlib

import pytest

from selfcodealign.errors import UserError
from selfcodealign.sandbox.settings import Settings, request
from selfcodealign.serving import forms
from selfcodealign.serving.forms import Refused
from selfcodealign.serving.settings import Serve, is_loopback
from selfcodealign.stage import section_of

SETTINGS = Serve()
VERDICT = {
    **{"id": "0", "verdict": "pass", "passed": True, "reason": "", "stdout": "", "stderr": "", "truncated": False},
    **{"exit_status": 0, "wall_s": 0.25},
}


def verdict(name: str, **changes) -> dict:
    return {**VERDICT, "verdict": name, "passed": name == "pass", **changes}


def test_a_case_is_answered_by_its_verdict_and_a_list_by_a_list():
    case = {"id": "a", "program": "1"}
    assert forms.own_rows(case, SETTINGS).answer([VERDICT]) == VERDICT
    several = forms.own_rows([case, case], SETTINGS)
    assert several.cases == [case, case]
    assert several.answer([VERDICT, VERDICT]) == [VERDICT, VERDICT]


WRONG_CASES = {
    "no object": (7, "a case is int"),
    "no id": ({"program": "1"}, "every case needs a string"),
    "nothing to run": ({"id": "a"}, "code is missing"),
    "both forms": ({"id": "a", "program": "1", "test": "2"}, "either program"),
    "a number for a text": ({"id": "a", "program": 1}, "program is int"),
    "one that asks for a network": ({"id": "a", "program": "1", "network": True}, "no network"),
    "too much memory": ({"id": "a", "program": "1", "memory_mb": 1025}, "allows 1024 (--max-memory-mb)"),
    "too much time": ({"id": "a", "program": "1", "timeout_s": 31}, "allows 30 (--max-timeout-s)"),
    "too much output": ({"id": "a", "program": "1", "output_kb": 10**400}, "allows 1024 (--max-output-kb)"),
    "too many processes": ({"id": "a", "program": "1", "processes": 65}, "allows 64 (--processes)"),
    "endless time": ({"id": "a", "program": "1", "timeout_s": float("inf")}, "allows 30"),
    "a time that is no number": ({"id": "a", "program": "1", "timeout_s": float("nan")}, "above 0"),
    "a limit below 1": ({"id": "a", "program": "1", "memory_mb": -1}, "above 0"),
    "a truth for a limit": ({"id": "a", "program": "1", "memory_mb": True}, "above 0"),
    "files of bytes": ({"id": "a", "program": "1", "files": {"a": 1}}, "no object of texts"),
    "a list of files": ({"id": "a", "program": "1", "files": ["a"]}, "no object of texts"),
    "late numbers": ({"id": "a", "program": "1", "late": 1}, "late is no text"),
    "vacuous in words": ({"id": "a", "program": "1", "vacuous": "no"}, "neither true nor false"),
}


@pytest.mark.parametrize("name", WRONG_CASES)
def test_a_wrong_case_is_refused_in_one_sentence(name):
    row, told = WRONG_CASES[name]
    with pytest.raises(Refused) as caught:
        forms.own_rows(row, SETTINGS)
    assert caught.value.status == 422
    assert told in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_whether_tests_are_vacuous_may_be_asked_for_each_case():
    case = {"id": "a", "code": "x = 1", "test": "assert x"}
    for asked, settings, wanted in (
        (None, True, True),
        (False, True, False),
        (True, False, True),
        (None, False, False),
    ):
        assert request({**case, "vacuous": asked}, Settings(vacuous=settings))["vacuous"] is wanted
    assert request({"id": "a", "program": "1", "vacuous": True}, Settings())["vacuous"] is False


ENDS = {
    "pass": (verdict("pass"), "Success", "Finished", 0),
    "an assertion": (verdict("fail", exit_status=1), "Failed", "Finished", 1),
    "left early with status 0": (verdict("fail", reason="it left"), "Failed", "Finished", 1),
    "status 3": (verdict("fail", exit_status=3), "Failed", "Finished", 3),
    "a signal": (verdict("crashed", exit_status=-11), "Failed", "Finished", -11),
    "memory": (verdict("memory", exit_status=None), "Failed", "Finished", -9),
    "time": (verdict("timeout", exit_status=None), "Failed", "TimeLimitExceeded", None),
    "the sandbox": (verdict("internal", exit_status=None, reason="broken"), "SandboxError", "Error", None),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_script_ends_in_the_form_of_sandboxfusion(name):
    given, status, run_status, code = ENDS[name]
    answer = forms.run_code({"code": "1", "language": "python"}, SETTINGS).answer([given])
    assert answer.keys() == {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
    assert answer["run_result"].keys() == {"status", "execution_time", "return_code", "stdout", "stderr"}
    assert (answer["status"], answer["run_result"]["status"], answer["run_result"]["return_code"]) == (
        status,
        run_status,
        code,
    )
    assert answer["message"] == given["reason"]


def test_a_script_brings_files_stdin_and_limits():
    body = {
        **{"code": "print(1)", "language": "python", "stdin": "in", "run_timeout": 3, "compile_timeout": 99},
        **{"files": {"a/b.txt": base64.b64encode("é".encode()).decode(), "none": None}, "memory_limit_MB": 256},
    }
    (case,) = forms.run_code(body, SETTINGS).cases
    assert case["files"] == {"a/b.txt": "é"}
    assert (case["stdin"], case["timeout_s"], case["memory_mb"], case["output_kb"]) == ("in", 3, 256, 1024)
    (plain,) = forms.run_code({"code": "", "language": "python", "memory_limit_MB": -1}, SETTINGS).cases
    assert (plain["timeout_s"], plain["memory_mb"]) == (10, 1024)
    assert forms.run_code({"code": "", "language": "python"}, Serve(max_timeout_s=5)).cases[0]["timeout_s"] == 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"language": "cpp"}, "language cpp is not served"),
        ({"fetch_files": ["out"]}, "fetch_files is not served"),
        ({"files": {"a": "%%"}}, "file a is no text"),
        ({"files": {"a": base64.b64encode(b"\xff\xfe\xfd").decode()}}, "file a is no text"),
    ],
    ids=["language", "fetch_files", "base64", "bytes"],
)
def test_what_is_not_served_is_said_in_sandboxfusions_form_and_not_run(changes, told):
    asked = forms.run_code({"code": "1", "language": "python", **changes}, SETTINGS)
    answer = asked.answer([])
    assert asked.cases == []
    assert (answer["status"], answer["run_result"]) == ("SandboxError", None)
    assert told in answer["message"]


WRONG_FORMS = {
    "no code": (forms.run_code, {"language": "python"}, "code: Field required"),
    "no object": (forms.run_code, [], "the request: "),
    "a script's network": (forms.run_code, {"code": "1", "language": "python", "network": 1}, "no network"),
    "a script's memory": (forms.run_code, {"code": "1", "language": "python", "memory_limit_MB": 9999}, "allows 1024"),
    "a script's time": (forms.run_code, {"code": "1", "language": "python", "run_timeout": 99}, "allows 30"),
    "no tests": (forms.test_program, {"program": "1"}, "tests: Field required"),
    "tests in words": (forms.test_program, {"program": "1", "tests": "assert f(1)"}, "is no JSON"),
    "deep tests": (forms.test_program, {"program": "1", "tests": "[" * 200_000}, "is no JSON"),
    "a number for a test": (forms.test_program, {"program": "1", "tests": [1]}, "number 0 is int"),
    "endless tests": (forms.test_program, {"program": "1", "tests": [], "max_execution_time": float("inf")}, "finite"),
    "long tests": (forms.test_program, {"program": "1", "tests": ["1"], "max_execution_time": 60}, "allows 30"),
    "no output": (forms.test_program_stdio, {"program": "1", "tests": [{"input": ""}]}, "input and output"),
    "tests' network": (forms.test_program_stdio, {"program": "1", "tests": [], "network": True}, "no network"),
}


@pytest.mark.parametrize("name", WRONG_FORMS)
def test_a_wrong_request_is_refused_in_one_sentence(name):
    form, body, told = WRONG_FORMS[name]
    with pytest.raises(Refused) as caught:
        form(body, SETTINGS)
    assert caught.value.status == 422
    assert told in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_a_pickle_of_tests_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    packed = base64.b64encode(zlib.compress(pickle.dumps([Trap()]))).decode()
    with pytest.raises(Refused, match="pickles are never loaded"):
        forms.test_program({"program": "1", "tests": packed}, SETTINGS)
    assert not (tmp_path / "sprung").exists()


def test_each_assertion_is_a_case_of_its_own():
    body = {"program": "def f(): return 1", "tests": json.dumps(["assert f() == 1", "assert f() == 2"])}
    asked = forms.test_program(body, SETTINGS)
    assert [case["test"] for case in asked.cases] == ["assert f() == 1", "assert f() == 2"]
    assert {case["vacuous"] for case in asked.cases} == {False}
    assert {case["timeout_s"] for case in asked.cases} == {1.0}
    assert asked.answer([VERDICT, verdict("fail")]) == {"results": [1, 0], "runtimes": [0.25, -1.0]}
    assert forms.test_program({"program": "", "tests": []}, SETTINGS).answer([]) == {"results": [], "runtimes": []}


def test_a_fault_of_the_sandbox_is_no_result():
    asked = forms.test_program({"program": "", "tests": ["assert 1"]}, SETTINGS)
    with pytest.raises(Refused, match="the sandbox failed on test 0: broken"):
        asked.answer([verdict("internal", reason="broken")])


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("2\n", "2", True),
        (" 1  \n2\n\n", "1\n2", True),
        ("1.0 2", "1 2.00", True),
        ("1e3", "1000", True),
        ("1 2", "1 3", False),
        ("1", "1\n1", False),
        ("1\n\n1", "1\n1", False),
        ("yes", "Yes", False),
        ("nan", "nan", True),
        ("sNaN", "0", False),
        ("", "", True),
        ("x", "", False),
    ],
    ids=str,
)
def test_outputs_are_compared_as_open_instruct_does(printed, expected, same):
    assert forms.same_output(printed, expected) is same


def test_a_right_output_counts_only_of_a_script_that_ended_well_and_was_kept_whole():
    tests = [{"input": "1", "output": "2"}] * 4
    asked = forms.test_program_stdio({"program": "p", "tests": tests}, SETTINGS)
    ends = [verdict("pass", stdout="2\n"), verdict("error", stdout="2\n"), verdict("pass", stdout="3\n")]
    assert asked.answer([*ends, verdict("pass", stdout="2\n", truncated=True)])["results"] == [1, 0, 0, 0]
    assert asked.cases[0] == {"id": "0", "program": "p", "stdin": "1", "timeout_s": 1.0, "output_kb": 1024}


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)),
        *(("::", False), ("10.1.2.3", False), ("no-such-name.invalid", False)),
    ],
)
def test_only_loopback_needs_no_token(host, here):
    assert is_loopback(host) is here
    if here:
        assert Serve(host=host).token() is None
    else:
        with pytest.raises(UserError, match="--token-file"):
            Serve(host=host).token()


@pytest.mark.parametrize("text", ["", "short", "a" * 15, "two words of a token", "a" * 20 + "\n" + "b" * 20, "ü" * 30])
def test_a_token_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "token").write_text(text)
    with pytest.raises(UserError, match="holds no token"):
        Serve(token_file=tmp_path / "token").token()


def test_a_token_is_read_without_its_newline(tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    assert Serve(host="0.0.0.0", token_file=tmp_path / "token").token() == "0123456789abcdef"
    with pytest.raises(UserError, match="cannot be read"):
        Serve(token_file=tmp_path / "none").token()
    with pytest.raises(UserError, match="--isolation none"):
        Serve(host="0.0.0.0", token_file=tmp_path / "token", isolation="none", i_understand=True).token()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"port": "x"}, "--port"),
        ({"queue": "0"}, "--queue"),
        ({"memory_mb": "2048"}, "--memory-mb is more than --max-memory-mb allows"),
        ({"timeout_s": "40"}, "--timeout-s is more than --max-timeout-s allows"),
        ({"network": "true"}, "--network cannot be had"),
    ],
    ids=["port", "queue", "memory", "time", "network"],
)
def test_a_wrong_setting_is_one_sentence(given, told):
    with pytest.raises(UserError) as caught:
        section_of(Serve, given)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_workers_get_the_settings_of_the_server(tmp_path):
    given = {"workers": "3", "reruns": "2", "vacuous": "false", "cache": str(tmp_path / "c"), "python": "python3"}
    found = section_of(Serve, given).sandbox()
    wanted = Settings(workers=3, reruns=2, vacuous=False, cache=tmp_path / "c", python="python3")
    assert found == wanted
