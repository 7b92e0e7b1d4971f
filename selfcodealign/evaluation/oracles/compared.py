"""Look at what tests compare that share a process with the program, by the sandbox's own instruments.

Tests of whole classes cannot be judged from outside. Which comparisons a program's values decided is reported with a
pass; those are looked at again by runs in which other values stand in the place of the tests', each a case of its own.
"""

import ast
import os
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
        self.look = self.lent.values.Look(self.lent.saved.known, mentioned, other, (file,))

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
        """Name what decides tests and has been changed by the program, or None."""
        saved = self.lent.saved
        changed = saved.replaced(self.tests[0] if self.patches else "")
        changed = changed or ("write" in self.means and saved.replaced_deeply())
        if "policy" not in self.tests[0]:
            changed = changed or saved.replaced_loop()
        return changed or saved.momentarily(self.patches)


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
