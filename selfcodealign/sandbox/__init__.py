"""Run untrusted Python programs, each in its own namespaces, and decide their verdicts from outside.

One function serves every user of the sandbox::

    from selfcodealign.sandbox import Settings, run_cases

    for verdict in run_cases(cases, Settings(timeout_s=4, memory_mb=1024)):
        print(verdict["id"], verdict["verdict"])

`cases` is any iterable of dicts; it is read lazily, so a million rows need no more memory than ten. Two forms:

* `{"id", "code", "test"}`: a response and its tests, kept apart. Both run in one `__main__` module, the response first.
  Passing needs every test to finish, and a secret that is given only after the response has loaded to come back after
  the last test. Functions `test*`, pytest-style classes, `unittest` cases and doctests that nobody calls are run as
  well.
* `{"id", "program"}` with an optional `"stdin"` (text): a whole script, judged by how it ends: `pass` is exit status 0
  reached by the last statement. A caller who compares outputs reads `stdout` and `exit_status` instead.

Either form may override the limits for itself: `timeout_s`, `memory_mb`, `scratch_mb`, `processes`, `output_kb`, and
whether vacuous tests are looked for (`vacuous`); and may bring `files`: `{relative name: text}`, written to the
program's working folder before it starts. A script may bring `late`: a text behind descriptor 251, which is nowhere in
its memory until it reads it, and so in no process that it forked before and that closed the descriptor. Such a script
judges others, and finds the sandbox's own instruments under the name `lent`.

A response with tests may ask for `each` of the tests' assertions: with `each: True` every assertion at the top of the
tests runs, whatever becomes of those before it, `pass` says that the tests came to their end, and the key `each` names
the assertions that held by their numbers from 0, as `"0 2"`. It is for code that keeps no state from one assertion to
the next; any other ending than `pass`, such as an exit or a limit, says nothing of the assertions.

Verdicts come in the order in which cases finish, exactly one for each id, as dicts with these keys:

    id            the case's id, unchanged
    verdict       pass | fail | error | timeout | memory | vacuous | crashed | flaky | internal
    passed        True only for `pass`
    reason        one line: what failed, or which rule found the tests vacuous
    stdout stderr the first `output_kb` KiB of each, invalid UTF-8 replaced; `truncated` tells whether more was printed
    exit_status   the process's exit status; negative for a signal, as in `subprocess`; None if it was stopped
    tests_run     test functions, unittest cases and doctests that were run by the harness
    cpu_s wall_s memory_mb    of the program and its children
    mutation_score            share of mutants of the code that the tests reject; None unless `mutants` is set
    each          only with `each`, and `pass`: numbers of the assertions that held
    stub_held     the same of the stub, where `vacuous` is set; None if the tests did not come to their end with it
    mutants_held  only with `mutants`: for each mutant None if the tests did not pass, else what `each` says of it, or
                  "0" for the tests as one
    isolation     apptainer | bubblewrap | none

`fail`: an assertion failed, or the program ended before its tests did. `error`: any other exception. `crashed`: a
signal ended it. `vacuous`: the tests also pass against a stub, or cannot fail. `flaky`: reruns disagreed. `internal`:
the sandbox itself failed twice on this case; it says nothing about the program.

The package needs nothing but the standard library, on the host and inside an image.
"""

from selfcodealign.sandbox.selftest import choose_layer
from selfcodealign.sandbox.settings import VERDICTS, Settings
from selfcodealign.sandbox.supervisor import run_cases

__all__ = ["VERDICTS", "Settings", "choose_layer", "run_cases"]
