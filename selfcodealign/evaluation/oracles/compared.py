"""Look at what tests compare that share a process with the program, by the sandbox's own instruments.

Tests of whole classes cannot be judged from outside. Which comparisons a program's values decided is reported with a
pass; those are looked at again by runs in which other values stand in the place of the tests', each a case of its own.
"""

import ast
import os
import types
import warnings
from typing import Any


class Watched:
    """The tests of one program, in one process with it.

    Args:
        program: text and tree of the program.
        tests: the same of the tests.
        file: the name of both.
        other: number of the run with other values; None while the tests decide.
    """

    def __init__(self, program, tests, file, other=None):
        self.lent: Any = globals()["lent"]  # by the sandbox, to scripts that judge
        self.tests, self.file = tests, file
        self.other, self.builtins = other, None
        self.means = self.lent.refused.means(program[1])
        self.patches = self.lent.translate.patches(tests[1], tests[0])
        mentioned = self.lent.translate.mentioned(program[0], tests[0])
        self.look = self.lent.values.Look(self.lent.saved, mentioned, other, (file,), "write" in self.means)
        used = self.lent.translate.used_builtins(tests[1])
        self.harmful = self.lent.refused.looks_for_harness(program[1], program[0], used)

    def code(self, flags):
        """Return the code of the tests, which asks here where values of the program may decide."""
        hook = "sandbox_" + os.urandom(8).hex()
        tree = self.lent.instruments.Comparisons(hook, self.tests[1], "make" in self.means).visit(self.tests[1])
        with warnings.catch_warnings():
            # The marks of the instruments are texts, and stand where functions will.
            warnings.filterwarnings("ignore", "'str' object is not callable", SyntaxWarning)
            flags &= self.lent.translate.FUTURE
            code = compile(ast.fix_missing_locations(tree), self.file, "exec", flags=flags, dont_inherit=True)
        self.builtins = self.lent.saved.for_tests()  # held, for it is looked at
        return self.lent.instruments.installed(code, self.lent.values.Compared(self.look).marks(hook))

    def forget(self):
        """Look at the next group of tests by itself."""
        self.look.met, self.look.lying, self.look.asked_for, self.look.loose = set(), set(), 0, False

    def measures(self, group):
        """Return what to report of a group that has passed."""
        if self.other is not None:
            return {f"{group}_lying": sorted(self.look.lying)}
        return {f"{group}_met": sorted(self.look.met)} if self.look.met else {}

    def replaced(self):
        """Say which part of what decides tests the program has changed, or which frames it reads; None if none."""
        saved = self.lent.saved
        if self.harmful or self.builtins is None:
            return self.harmful
        changed = saved.replaced(self.tests[0] if self.patches else "")
        changed = changed or ("write" in self.means and saved.replaced_deeply())
        if "policy" not in self.tests[0]:
            changed = changed or saved.replaced_loop()
        changed = changed or saved.momentarily(self.patches)
        return f"the program replaces {changed}" if changed else None


class Relied:
    """What tests call by the names of modules that they import, as it was before the program ran.

    Args:
        tree: of the tests; `tests` that load the modules themselves, before the program does.
    """

    def __init__(self, tree):
        self.chains = sorted({chain for node in ast.walk(tree) if (chain := chain_of(node))})
        self.held: list[Any] = []

    def note(self, names):
        """Remember what the names lead to; a function with all that it is made of."""
        for first, *rest in self.chains:
            owner = names.get(first)
            if not isinstance(owner, types.ModuleType):
                continue
            for part in rest:
                found = getattr(owner, part, None)
                if not isinstance(owner, (types.ModuleType, type)) or found is None:
                    break
                if isinstance(found, (type, types.ModuleType)) or callable(found):
                    self.held.append((owner, part, plainly(owner, part), made_up_of(found)))
                owner = found

    def replaced(self):
        """Say what is no longer what it was, or None."""
        for owner, part, held, before in self.held:
            if plainly(owner, part) is not held or any(
                now is not old for now, old in zip(made_up_of(getattr(owner, part, None)), before, strict=True)
            ):
                return f"the program replaces {getattr(owner, '__name__', '')}.{part}"
        return None


def chain_of(node):
    """Return the names of a dotted expression, or an empty tuple."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if parts and isinstance(node, ast.Name) else ()


def plainly(owner, name):
    """Return an entry of a module or class as it is kept, without making a method of it."""
    return vars(owner).get(name)


def made_up_of(value):
    """Return code and defaults of a function in Python; two Nones for all else."""
    value = getattr(value, "__func__", value)
    if not isinstance(value, types.FunctionType):
        return None, None
    return value.__code__, value.__defaults__


def divided(text, lines):
    """Parse a text and return the trees of its first lines and of the rest."""
    tree = ast.parse(text)
    first = [node for node in tree.body if start_of(node) <= lines]
    return (
        ast.Module(body=first, type_ignores=[]),
        ast.Module(body=tree.body[len(first) :], type_ignores=[]),
    )


def start_of(node):
    """Return the first line of a statement, its decorators included."""
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
