"""The toy model's own tests are judged by the oracle of its domain, which the pipeline never sees."""

from demo import measure
from demo.domain import draw_task, hidden_tests, instruction_of
from selfcodealign.ids import rng_for
from selfcodealign.sandbox import Settings, run_cases


def row(name: str, instruction: str, response: str, passed: bool) -> dict:
    return {"id": name, "instruction": instruction, "response": f"```python\n{response}\n```", "passed": passed}


def test_the_oracle_tells_right_code_from_wrong():
    task = next(task for number in range(100) if hidden_tests(task := draw_task(rng_for(0, "measure", str(number)))))
    name = next(word.split("(")[0] for word in hidden_tests(task).split() if "(" in word and word[0].isalpha())
    rows = [
        row("wrong", instruction_of(task), f"def {name}(*values):\n    return object()", True),
        row("foreign", "Write a poem.", "pass", False),
    ]
    (case,) = measure.cases(rows)
    assert case["id"] == "wrong"
    (verdict,) = run_cases([case], Settings())
    assert verdict["verdict"] in ("fail", "error")


def test_shares_are_of_what_the_oracle_judged():
    rows = [row(name, "", "", passed) for name, passed in (("a", True), ("b", True), ("c", False), ("d", False))]
    rows.append(row("outside the domain", "", "", True))
    found = measure.summary(rows, {"a": True, "b": False, "c": True, "d": False})
    assert found["responses"] == 5
    assert found["in the domain"] == 4
    assert found["code right"] == found["pass, of right code"] == found["pass, of wrong code"] == 0.5


def test_operations_are_listed_from_the_least_trusted():
    tasks = [draw_task(rng_for(1, "measure", str(number))) for number in range(40)]
    rows = [row(str(number), instruction_of(task), "", number % 3 == 0) for number, task in enumerate(tasks)]
    table = measure.by_operation(rows, {str(number): True for number in range(40)})
    shares = [entry["pass"] for entry in table.values()]
    assert shares == sorted(shares)
    assert sum(entry["right"] for entry in table.values()) >= 40


def test_the_matrix_and_assertions_are_judged_by_the_same_oracle():
    task = next(task for number in range(100) if hidden_tests(task := draw_task(rng_for(0, "measure", str(number)))))
    right, *_ = hidden_tests(task).splitlines()
    rows = [{"id": name, "instruction_id": "a", "instruction": instruction_of(task), "passed": False} for name in "xy"]
    weights = [{"id": "x", "credible": True}, {"id": "y", "credible": False}]
    assert [row["passed"] for row in measure.weighed(rows, weights)] == [True, False]
    texts = {"right": right, "wrong": f"assert {task.name}(1, 2, 3) == 4"}
    told = {"right": (True, True), "wrong": (True, False)}
    assertions = [
        {"id": name, "instruction_id": "a", "text": text, "agreed": told[name][0], "pooled": told[name][1]}
        for name, text in texts.items()
    ]
    assert measure.of_assertions(rows, assertions) == {
        "all, assertions": 2,
        "all, fail right code": 0.5,
        "agreed, assertions": 2,
        "agreed, fail right code": 0.5,
        "pooled, assertions": 1,
        "pooled, fail right code": 0.0,
    }
