"""Programs that lie about their answers fail by construction; honest ones of every style pass."""

import json

import pytest

from selfcodealign.evaluation import base
from selfcodealign.evaluation.base import Problem
from selfcodealign.evaluation.execution import Task, execute
from selfcodealign.sandbox import Settings

ADD = "def add(a, b):\n    return a + b\n"
PLUS = {
    "prompt": 'def add(a, b):\n    """Sum."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "base_input": [[1, 2], [3, 4]],
    "plus_input": [[5, 6], [-1, 1], [0.1, 0.2]],
    "atol": 0,
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(3, 4) == 7\n",
}
MBPP = {"test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"], "code": ADD}
CALLS = {
    "metadata": json.dumps({"func_name": "add"}),
    "tests": [{"input": f"{n}\n2", "output": str(n + 2), "testtype": "functional"} for n in (1, 3)],
}
VALUES = {"humaneval": PLUS, "humaneval_plus": PLUS, "mbpp": MBPP, "livecodebench": CALLS}
"""The same task in each benchmark whose answers are values."""

NODE = {
    "code": "class Node:\n    def __init__(self, x):\n        self.x = x\ndef sum(node):\n    return node.x + node.next.x",
    "test_setup_code": "root = Node(1)\nroot.next = Node(2)",
    "test_list": ["assert sum(root) == 3", "assert set([sum(root)]) == {3}"],
}
BY_NAME = {
    "the authors'": (NODE["code"], True),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass Node:\n    x: int\ndef sum(n): return n.x + n.next.x",
        True,
    ),
    "a name that the tests use": ("def set(x): return {3}\n" + NODE["code"].replace("+", "-"), False),
    "no class": ("def sum(n): return 3", False),
    "wrong": (NODE["code"].replace("+", "*"), False),
}


def test_objects_of_the_program_stand_in_tests_by_name(tmp_path):
    tasks = [Task(key, Problem("Mbpp/1", NODE), text) for key, (text, _) in BY_NAME.items()]
    found = execute(base.get("mbpp"), tasks, Settings(workers=1, preload=()), tmp_path)
    assert {key: one.groups["tests"] == "pass" for key, one in found.items()} == {k: v for k, (_, v) in BY_NAME.items()}


LIES = {
    "an object equal to everything": "class Y:\n    def __eq__(s, o): return True\ndef add(a, b): return Y()",
    "one in disguise": (
        "class Y(int):\n    def __eq__(s, o): return True\n    __ne__ = lambda s, o: False\n"
        "    __hash__ = int.__hash__\ndef add(a, b): return Y(0)"
    ),
    "mock's": "from unittest import mock\ndef add(a, b): return mock.ANY",
    "a class that is equal": (
        "class M(type):\n    def __eq__(s, o): return True\n    __hash__ = type.__hash__\n"
        "class Y(metaclass=M): pass\ndef add(a, b): return Y"
    ),
    "arithmetic that agrees": (
        "class Y(float):\n    def __sub__(s, o): return 0.0\n    __rsub__ = __sub__\n    def __abs__(s): return 0.0\n"
        "    def __eq__(s, o): return o\ndef add(a, b): return Y(9)"
    ),
    "the caller's names": (
        "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for n in ('wanted', 'expected', 'secret'):\n"
        "            if n in f.f_locals: return f.f_locals[n]\n        f = f.f_back\n    return 0"
    ),
    "all objects": (
        "import gc\ndef add(a, b):\n    for d in gc.get_objects():\n        if isinstance(d, dict) and 'expected' in d:\n"
        "            return d['expected']\n    return 0"
    ),
    "a replaced json.loads": "import json\njson.loads = lambda s, **k: [0, []]\ndef add(a, b): return 0",
    "the main module": (
        "import __main__, sys\nfor m in [__main__, *sys.modules.values()]:\n"
        "    for n in ('compared', 'equal', 'close', 'differential', 'decide', 'same'):\n"
        "        try: setattr(m, n, lambda *a, **k: True)\n        except Exception: pass\ndef add(a, b): return 0"
    ),
    "the callers' globals": (
        "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n"
        "        for n in ('decode', 'encode', 'compared', 'digest'):\n"
        "            if n in f.f_globals: f.f_globals[n] = lambda *a, **k: '[3, []]'\n        f = f.f_back\n    return 0"
    ),
    "builtins": "import builtins\nbuiltins.all = builtins.bool = builtins.abs = lambda *a: True\ndef add(a, b): return 0",
    "math": "import math\nmath.isclose = math.fabs = lambda *a, **k: True\ndef add(a, b): return 0",
    "a module of its own in the way": (
        "import os\nfor n in ('numpy', 'decimal', 'json', 'math'):\n    for d in ('.', '/tmp'):\n"
        "        open(os.path.join(d, n + '.py'), 'w').write('def allclose(*a, **k): return True')\ndef add(a, b): return 0"
    ),
    "the first process's memory": (
        "def add(a, b):\n    for p in (1, 2):\n        try:\n            m = open(f'/proc/{p}/mem', 'rb')\n"
        "            for l in open(f'/proc/{p}/maps'):\n                x, y = (int(i, 16) for i in l.split()[0].split('-'))\n"
        "                if 'heap' in l:\n                    m.seek(x)\n                    if b'secret' in m.read(y - x): return a + b\n"
        "        except OSError: pass\n    return 0"
    ),
    "what came late": (
        "import os\ndef add(a, b):\n    for d in range(3, 256):\n        try:\n            if b'secret' in os.pread(d, 10**6, 0):"
        " return a + b\n        except OSError: pass\n    return 0"
    ),
    "the first process's files": (
        "import os, glob\ndef add(a, b):\n    for p in glob.glob('/proc/[12]/fd/*'):\n        try:\n"
        "            if b'secret' in open(p, 'rb').read(10**6): return a + b\n        except OSError: pass\n    return 0"
    ),
    "findings of its own": (
        "import os, json\ndef add(a, b):\n    for d in range(0, 256):\n        for g in ('base', 'plus', 'tests'):\n"
        "            try: os.write(d, (json.dumps({'group': g, 'status': 'pass', 'measures': {}}) + '\\n').encode())\n"
        "            except OSError: pass\n    return 0"
    ),
    "the end of those who judge": (
        "import os, signal\ndef add(a, b):\n    for p in (1, 2, os.getppid()):\n        for n in (2, 9, 15, 10):\n"
        "            try: os.kill(p, n)\n            except OSError: pass\n    os._exit(0)"
    ),
    "leaving": "import os\ndef add(a, b): os._exit(0)",
    "leaving while it loads": "raise SystemExit(0)",
    "itself": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "a generator": "def add(a, b):\n    yield a + b",
    "nothing": "def add(a, b): pass",
    "no function": "add = None",
}
HONEST = {
    "plain": ADD,
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int'\n    next: 'P' = None\n"
        "def add(a, b): return P(a + b).x"
    ),
    "postponed annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n"
        "    x: int\n    rest: list[P] = field(default_factory=list)\ndef add(a: int, b: int) -> int: return P(a + b).x"
    ),
    "type hints": (
        "import typing\nclass N:\n    next: 'N'\ndef add(a: 'int', b: 'N'):\n"
        "    assert typing.get_type_hints(N)['next'] is N and typing.get_type_hints(add)\n    return a + b"
    ),
    "a named tuple and an enumeration": (
        "from typing import NamedTuple\nimport enum\nclass P(NamedTuple):\n    x: 'P'\nclass E(enum.IntEnum):\n    ONE = 1\n"
        "def add(a, b): return P(a + b).x * E.ONE"
    ),
    "pickled": (
        "import pickle, copy\nclass P:\n    def __init__(self, x): self.x = x\n"
        "def add(a, b): return pickle.loads(pickle.dumps(copy.deepcopy(P(a + b)))).x"
    ),
    "its own module": "import sys, inspect\ndef add(a, b):\n    assert inspect.getsource(add)\n    return getattr(sys.modules[__name__], 'plus')(a, b)\ndef plus(a, b): return a + b",
    "a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\nex = ThreadPoolExecutor(1)\nex.submit(int).result()\n"
        "def add(a, b): return ex.submit(lambda: a + b).result()"
    ),
    "a thread that goes on": (
        "import threading, queue\nq, r = queue.Queue(), queue.Queue()\ndef work():\n    while True: r.put(sum(q.get()))\n"
        "threading.Thread(target=work, daemon=True).start()\ndef add(a, b):\n    q.put((a, b))\n    return r.get()"
    ),
    "processes": (
        "from multiprocessing import Pool\ndef plus(p): return p[0] + p[1]\ndef add(a, b):\n    with Pool(1) as p: return p.map(plus, [(a, b)])[0]"
    ),
    "a subclass of int": "class N(int): pass\ndef add(a, b): return N(a + b) if type(a) is int else a + b",
    "printing": "import sys\ndef add(a, b):\n    print('x' * 10**6)\n    sys.stderr.write('y' * 10**5)\n    return a + b",
    "a byte order mark": "\ufeff" + ADD,
    "a guard": ADD + "if __name__ == '__main__':\n    raise SystemExit(1)\n",
}


def run(tmp_path_factory, programs, records):
    """Judge each program by each benchmark."""
    found = {}
    for name, record in records.items():
        benchmark = base.get(name)
        if name == "livecodebench":
            programs = {
                key: f"{text}\nclass Solution:\n    def add(self, a, b): return globals()['add'](a, b)\n"
                for key, text in programs.items()
            }
        tasks = [Task(key, Problem("HumanEval/0", record), text) for key, text in programs.items()]
        outcomes = execute(benchmark, tasks, Settings(workers=1, preload=()), tmp_path_factory.mktemp("references"))
        found |= {(name, key): (benchmark.passed(one.groups), one) for key, one in outcomes.items()}
    return found


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Judge all programs whose answers are values."""
    return run(tmp_path_factory, LIES | HONEST, VALUES)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_fails(name, lie, values):
    assert values[name, lie][0] is False


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("style", HONEST)
def test_an_honest_program_passes(name, style, values):
    assert values[name, style][0] is True, values[name, style][1].reason


SORT = {
    **PLUS,
    "prompt": "def order(xs):\n",
    "entry_point": "order",
    "canonical_solution": "    return sorted(xs)\n",
    "base_input": [[[3, 1, 2]]],
    "plus_input": [[[2, 1]], [[]]],
}
IN_PLACE = {
    "sorted in place": ("def order(xs):\n    xs.sort()\n    return xs", True),
    "emptied": (
        "def order(xs):\n    found = []\n    while xs: found.append(xs.pop(xs.index(min(xs))))\n    return found",
        True,
    ),
    "emptied and wrong": ("def order(xs):\n    xs.clear()\n    return xs", False),
    "kept from before": ("seen = []\ndef order(xs):\n    seen.append(sorted(xs))\n    return seen[0]", False),
    "a tuple": ("def order(xs): return tuple(sorted(xs))", False),
    "a subclass of list": ("class L(list): pass\ndef order(xs): return L(sorted(xs))", True),
    "a generator": ("def order(xs): return (x for x in sorted(xs))", False),
    "an array": ("import array\ndef order(xs): return array.array('i', sorted(xs))", False),
    "asleep": ("import time\ndef order(xs):\n    time.sleep(9)\n    return sorted(xs)", False),
    "endless": ("def order(xs):\n    while True: pass", False),
    "endless and catching": (
        "def order(xs):\n    while True:\n        try: sum(range(10**6))\n        except BaseException: pass",
        False,
    ),
    "an endless generator": ("def order(xs):\n    while True: yield 1", False),
    "huge": ("def order(xs): return [0] * 10**8", False),
}


@pytest.fixture(scope="module")
def in_place(tmp_path_factory):
    """Judge programs that change their input, or take their time."""
    programs = {key: text for key, (text, _) in IN_PLACE.items()}
    return run(tmp_path_factory, programs, {"humaneval_plus": SORT})


@pytest.mark.parametrize("kind", IN_PLACE)
def test_changes_of_the_input_neither_hurt_nor_help(kind, in_place):
    passed, outcome = in_place["humaneval_plus", kind]
    assert passed is IN_PLACE[kind][1], outcome.reason
    if kind == "asleep":
        assert outcome.wall_s < 20  # of each group, the limit of one input


STDIN = {"tests": [{"input": "3\n1 2 3\n", "output": "6\n", "testtype": "stdin"}] * 2}
SCRIPTS = {
    "input": ("input()\nprint(sum(map(int, input().split())))", True),
    "open(0)": ("n, *a = map(int, open(0).read().split())\nprint(sum(a))", True),
    "open(0, 'rb')": ("n, *a = map(int, open(0, 'rb').read().split())\nopen(1, 'w').write(str(sum(a)))", True),
    "os.read": ("import os\nn, *a = map(int, os.read(0, 10**6).split())\nos.write(1, str(sum(a)).encode())", True),
    "fstat": (
        "import os, io, sys\nb = io.BytesIO(os.read(sys.stdin.fileno(), os.fstat(sys.stdin.fileno()).st_size))\n"
        "b.readline()\nsys.stdout.buffer.write(b'%d' % sum(map(int, b.readline().split())))",
        True,
    ),
    "mmap": ("import mmap\nm = mmap.mmap(0, 0, access=mmap.ACCESS_READ)\nprint(sum(map(int, m[:].split()[1:])))", True),
    "buffer": ("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split()[1:])))", True),
    "lines": (
        "import sys\nlines = iter(sys.stdin.readline, '')\nnext(lines)\nprint(sum(map(int, next(lines).split())))",
        True,
    ),
    "seek": ("import sys\nsys.stdin.read()\nsys.stdin.seek(0)\ninput()\nprint(sum(map(int, input().split())))", True),
    "reconfigure": (
        "import sys\nsys.stdout.reconfigure(line_buffering=True)\nsys.stdin.reconfigure(encoding='utf-8')\nprint(6)",
        True,
    ),
    "wrapped": (
        "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\n"
        "sys.stdin = io.TextIOWrapper(sys.stdin.buffer)\ninput()\nprint(sum(map(int, input().split())))",
        True,
    ),
    "an old handle": ("import sys, io\nold = sys.stdout\nsys.stdout = io.StringIO()\nold.write('6')", True),
    "a file never closed": ("f = open(1, 'w', buffering=4096, closefd=False)\nf.write('6')", True),
    "atexit": (
        "import atexit, io, sys\nb = io.StringIO()\nsys.stdout = b\natexit.register(lambda: sys.__stdout__.write(b.getvalue()))\nprint(6)",
        True,
    ),
    "a thread": (
        "import threading, time\ndef main():\n    time.sleep(.2)\n    print(6)\nthreading.Thread(target=main).start()",
        True,
    ),
    "a daemon": (
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(.2) or print(9), daemon=True).start()\nprint(6)",
        True,
    ),
    "deep recursion": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\ndef f(n): return n and 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(20000) - 19994))\nt.start()\nt.join()",
        True,
    ),
    "a pool": (
        "from multiprocessing import Pool\ndef f(x): return x\nif __name__ == '__main__':\n    with Pool(2) as p: print(sum(p.map(f, [1, 2, 3])))",
        True,
    ),
    "a process": (
        "import multiprocessing as m\ndef f(): print(6)\nif __name__ == '__main__':\n    p = m.Process(target=f)\n    p.start()",
        True,
    ),
    "another Python": ("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(6)'])", True),
    "asyncio": (
        "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print(6)\nasyncio.run(main())",
        True,
    ),
    "import __main__": ("import __main__\ndef f(): return 6\nprint(__main__.f())", True),
    "its own text": (
        "import inspect, sys\ndef f(): pass\nassert 'def f' in inspect.getsource(f) and open(__file__).read() and sys.argv[0]\nprint(6)",
        True,
    ),
    "sys.exit": ("import sys\nprint(6)\nsys.exit()", True),
    "exit": ("print(6)\nexit(0)", True),
    "a dataclass": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: P\nprint(P(6).x)",
        True,
    ),
    "names without imports": ("print(math.gcd(6, 12)); Counter(); List", True),
    "a large number": ("assert len(str(10**5000)) == 5001\nprint(6)", True),
    "stderr": ("import sys\nprint('x' * 10**6, file=sys.stderr)\nprint(6)", True),
    "os._exit unflushed": ("import os\nprint(6)\nos._exit(0)", False),
    "exit status 1": ("import sys\nprint(6)\nsys.exit(1)", False),
    "a message at the end": ("import sys\nprint(6)\nsys.exit('bad')", False),
    "an error at the end": ("print(6)\n1 / 0", False),
    "a signal": ("import os\nprint(6, flush=True)\nos.kill(os.getpid(), 11)", False),
    "wrong": ("print(7)", False),
    "endless output": ("while True: print('6' * 1000)", False),
    "asleep": ("import time\nprint(6, flush=True)\ntime.sleep(100)", False),
    "the wanted text": (
        "import gc\nprint(next((d['wanted'][0] for d in gc.get_objects() if isinstance(d, dict) and 'wanted' in d), 7))",
        False,
    ),
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Run all scripts on stdin tests."""
    programs = {key: text for key, (text, _) in SCRIPTS.items()}
    tasks = [Task(key, Problem("sum", STDIN), text) for key, text in programs.items()]
    benchmark = base.get("livecodebench")
    return execute(benchmark, tasks, Settings(workers=1, preload=()), tmp_path_factory.mktemp("references"))


@pytest.mark.parametrize("kind", SCRIPTS)
def test_scripts_run_as_scripts(kind, scripts):
    assert (scripts[kind].groups["tests"] == "pass") is SCRIPTS[kind][1], scripts[kind].reason


EDIT = {"before": "def f():\n    return 1\n", "tests": "assert f() == 2\n"}
EDITS = {
    "plain": ("def f():\n    return 2\n", True),
    "reconfigure": ("import sys\nsys.stdout.reconfigure(encoding='utf-8')\ndef f():\n    return 2\n", True),
    "wrapped": (
        "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint('é')\ndef f():\n    return 2\n",
        True,
    ),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'P'\ndef f():\n    return P(2).x\n",
        True,
    ),
    "main": ("import __main__\ndef f():\n    return __main__.two\ntwo = 2\n", True),
    "a pool": (
        "from multiprocessing import Pool\ndef g(x): return x + 1\ndef f():\n    with Pool(1) as p: return p.map(g, [1])[0]\n",
        True,
    ),
    "stdin at its end": ("import sys\nassert sys.stdin.read() == ''\ndef f():\n    return 2\n", True),
    "unchanged": ("def f():\n    return 1\n", False),
    "a failing thread's script": ("def f():\n    return 2\nimport atexit, os\natexit.register(os._exit, 3)\n", False),
    "killing its parent": ("import os, signal\nos.kill(os.getppid(), 9)\ndef f():\n    return 1\n", False),
}


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    """Run all edits."""
    tasks = [Task(key, Problem("1_x/lazy", EDIT, variant="lazy"), text) for key, (text, _) in EDITS.items()]
    return execute(base.get("canitedit"), tasks, Settings(workers=1, preload=()), tmp_path_factory.mktemp("references"))


@pytest.mark.parametrize("kind", EDITS)
def test_edits_run_as_scripts(kind, edits):
    assert (edits[kind].groups["tests"] == "pass") is EDITS[kind][1], edits[kind].reason
