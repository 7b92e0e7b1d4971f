"""Measure what a correct program costs on EvalPerf's input (arXiv 2408.06450)."""

import ctypes
import fcntl
import os
import platform
import struct
import time

from selfcodealign.evaluation.oracles.evalplus import decoded
from selfcodealign.evaluation.oracles.inside import cpu_limit, loaded, silent

PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
"""Number of the system call."""

ATTRIBUTE_BYTES = 112
INSTRUCTIONS = 1
RESET, ENABLE, DISABLE = 0x2403, 0x2400, 0x2401
OFF_AT_FIRST, NOT_KERNEL, NOT_HYPERVISOR = 1, 1 << 5, 1 << 6


def judge(program, data, report):
    """Report the cost of one call: instructions where the processor's counter can be read, else CPU seconds.

    `data`: entry_point, dataset and task (for MBPP's inputs), inputs (one argument list), unit, limit_s.
    """
    (arguments,) = decoded(data, data["inputs"][:1])
    with silent():
        function = loaded(program)[data["entry_point"]]
    counter = open_counter() if data["unit"] == "instructions" else None
    with silent(), cpu_limit(data["limit_s"]):
        if counter is None:
            start = time.process_time()
            function(*arguments)
            cost = time.process_time() - start
        else:
            fcntl.ioctl(counter, RESET, 0)
            fcntl.ioctl(counter, ENABLE, 0)
            function(*arguments)
            fcntl.ioctl(counter, DISABLE, 0)
            (cost,) = struct.unpack("q", os.read(counter, 8))
    report("profile", "pass", cost=cost, unit="cpu_s" if counter is None else "instructions")


def open_counter():
    """Open the processor's instruction counter for this process; None where there is none or it is not allowed."""
    number = PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return None
    flags = OFF_AT_FIRST | NOT_KERNEL | NOT_HYPERVISOR
    attributes = struct.pack("IIQQQQQ", 0, ATTRIBUTE_BYTES, INSTRUCTIONS, 0, 0, 0, flags).ljust(ATTRIBUTE_BYTES, b"\0")
    descriptor = ctypes.CDLL(None).syscall(number, ctypes.create_string_buffer(attributes), 0, -1, -1, 0)
    return descriptor if descriptor >= 0 else None
