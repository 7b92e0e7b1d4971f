"""What several oracles use: expected outputs, the comparison of all of a program's with them, and nearness."""

import base64
import importlib
import json
import math
import re
import time
import zlib
from typing import Any

from selfcodealign.evaluation.oracles.codec import decode, encode
from selfcodealign.evaluation.oracles.inside import WRITING_S, describe, fingerprint, loaded, silent
from selfcodealign.evaluation.oracles.outside import Gone, Run

LARGE = 1_000_000
"""Bytes from which on an expected output is kept as a digest (four tasks have outputs of up to 900 MB)."""
DIGEST_FACTOR = 4.0
"""Times the CPU seconds of the reference's digest that a program's may take, beyond WRITING_S."""

GROUP_S = 60.0
"""Longest that one group of inputs may take, loading the program included; EvalPlus waits two seconds more."""
LARGE_S = 240.0
"""CPU seconds beyond that in which a group's large outputs must be written out."""

NUMBERS = (int, float, bool)


def packed(value):
    """Return a value of JSON's kinds as compressed text."""
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 1)).decode()


def unpacked(text):
    """Return what `packed` packed."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def reference_outputs(program, data, groups, report, convert=lambda output: output):
    """Run the authors' solution, and report the inputs, which programs may see, apart from the expected outputs.

    `groups` maps a group's name to its list of argument lists. Of large outputs a digest is kept.
    """
    with silent():
        function = loaded(program)[data["entry_point"]]
    asked, wanted = {}, {}
    for group, inputs in groups.items():
        asked[group], wanted[group] = [], []
        for given in inputs:
            document = encode(given)
            arguments = decode(document)
            with silent():
                start = time.process_time()
                output = function(*arguments)
                seconds = time.process_time() - start
            output = convert(output)
            start = time.process_time()
            digest, size = fingerprint(output)
            large = size > LARGE
            digest_s = WRITING_S + DIGEST_FACTOR * (time.process_time() - start) if large else 0
            limit = max(data["min_time_limit_s"], data["factor"] * seconds)
            asked[group].append((document, limit, digest_s))
            wanted[group].append(digest if large else encode(output))
    report.blob("inputs", packed(asked))
    report.blob("expected", packed(wanted))


ODD = re.compile(r'NaN|"(?:opaque|iterator|values|float|decimal|array|objects)"')
"""In documents of values that may differ from themselves, or whose equal texts say too little."""


def differential(nursery, secret, inputs, report, matcher):
    """Compare a program's outputs with the reference's, group by group, stopping a group at its first failure.

    `secret`: expected, and reference (the authors' program). Each group has a process of its own, so that none sees
    what the program remembers of another. `matcher()` makes, for each group, a function (documents of output, wanted
    and arguments) → whether they match, so that it may remember what came before.
    """
    expected = unpacked(secret["expected"])
    for group, asked in inputs.items():
        # Writing out hundreds of megabytes is not the program's own time.
        writing_s = min(LARGE_S, sum(digest_s for *_, digest_s in asked))
        spare_s = min(GROUP_S, sum(limit for _, limit, _ in asked)) + writing_s + 2
        with Run(nursery, "inputs", {"group": group, "spare_s": spare_s}) as run:
            status, detail, _ = compared(run, asked, expected[group], spare_s, secret, matcher())
        if not any(inputs.values()):
            status, detail = "fail", "the problem has no inputs"
        report(group, status, **({group + "_detail": detail} if detail else {}))


def compared(run, asked, expected, spare_s, secret, matches):
    """Read a program's outputs until one does not match; return the group's status, a detail, and how many matched.

    The program's process keeps the limits; from here it is ended where it did not, or does nothing.
    """
    at, matched = "loading", 0
    try:
        result(run.hear(2 * spare_s + 2, spare_s + 1), b"L")
        for (document, limit, digest_s), wanted in zip(asked, expected, strict=True):
            at = f"input {matched}"
            kind, text = result(run.hear(2 * limit + (digest_s or WRITING_S), limit + 1), b"RD")
            if kind == b"D" and text != wanted:
                # Unequal documents may still be equal values: only the reference can tell.
                run.tell("whole")
                wanted = reference_output(secret, document)
                kind, text = result(run.hear(spare_s, spare_s), b"R")
            elif kind == b"D":
                run.tell("next")
            if kind == b"R" and not matches(text, wanted, document):
                return "fail", f"{at}: wrong output", matched
            matched += 1
    except Gone as end:
        return end.status, f"{at}: {end.reason}", matched
    except BaseException as error:
        return "fail", f"{at}: {describe(error)}", matched
    return "pass", "", matched


def result(message, kinds):
    """Return a message of the kinds that may come now; raises Gone for any other."""
    kind, text = message
    if kind not in kinds:
        raise Gone("timeout" if kind == b"T" else "fail", text)
    return message


def reference_output(secret, document):
    """Return the document of the authors' output for one input."""
    with silent():
        function = loaded(secret["reference"])[secret["entry_point"]]
        return encode(function(*decode(document)))


def close(output: Any, wanted: Any, rtol, atol, equal_nan=False):
    """Compare numbers elementwise, |a − b| ≤ atol + rtol |b|, as numpy's allclose does, which is asked only for arrays.

    Plain numbers and lists are compared here: numpy in the process would double what a case costs.
    """
    if type(output) in NUMBERS and type(wanted) in NUMBERS:
        if math.isnan(output) or math.isnan(wanted):
            return equal_nan and math.isnan(output) and math.isnan(wanted)
        if math.isinf(output) or math.isinf(wanted):
            return output == wanted
        return abs(output - wanted) <= atol + rtol * abs(wanted)
    if isinstance(output, (list, tuple)) and isinstance(wanted, (list, tuple)) and len(output) == len(wanted):
        return all(close(a, b, rtol, atol, equal_nan) for a, b in zip(output, wanted, strict=True))
    numpy = importlib.import_module("numpy")
    return bool(numpy.allclose(output, wanted, rtol=rtol, atol=atol, equal_nan=equal_nan))
