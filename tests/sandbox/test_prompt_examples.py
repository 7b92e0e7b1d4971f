"""The examples in the prompts are what the model is shown as good: their tests must pass like any response's."""

import pytest

from selfcodealign.errors import UserError
from selfcodealign.generation.prompts import load_template
from selfcodealign.sandbox import Settings, choose_layer, run_cases
from tests.conftest import ROOT, missing
from tests.fences import blocks


@pytest.mark.parametrize("name", ["selfcodealign", "smollm2", "starcoder2-instruct"])
def test_every_examples_tests_pass_in_the_sandbox_and_could_fail(name):
    settings = Settings(timeout_s=20, memory_mb=1024)
    try:
        choose_layer(settings)
    except UserError as error:
        missing(str(error))
    cases = []
    for example in load_template(ROOT / "prompts" / f"{name}.yaml").examples:
        code, *_, tests = blocks(example.fields["response"]) + blocks(example.fields.get("tests", ""))
        cases.append({"id": str(example.number), "code": code, "test": tests})
    verdicts = {verdict["id"]: (verdict["verdict"], verdict["reason"]) for verdict in run_cases(cases, settings)}
    assert len(verdicts) == len(cases)
    assert {number: verdict for number, verdict in verdicts.items() if verdict[0] != "pass"} == {}
