"""Judge a program by a reference solution's outputs under EvoEval's typed equality (arXiv 2403.19114)."""

import itertools
import math

from selfcodealign.evaluation.oracles.codec import decode
from selfcodealign.evaluation.oracles.common import ODD, close, differential, reference_outputs


def decide(nursery, data, secret, inputs, report):
    """Compare a program with the reference; `secret` has `oracle`, a special check or empty, besides the usual."""
    check = ORACLES[secret["oracle"]] if secret["oracle"] else None

    def matches(output, wanted, document):
        if check is not None:
            return check(decode(output), decode(wanted), *decode(document))
        return (output == wanted and not ODD.search(output)) or equal(decode(wanted), decode(output))

    differential(nursery, secret, inputs, report, lambda: matches)


def reference(program, data, report):
    """Report the authors' outputs; `data["groups"]` has inputs as JSON lists, or as texts of argument lists."""
    groups = {
        group: [eval(f"[{text}]", {}) if isinstance(text, str) else text for text in inputs]
        for group, inputs in data["groups"].items()
    }
    reference_outputs(program, data, groups, report)


def equal(first, second):
    """Compare values recursively, by kind first: an int is no float, a bool no int; floats to 1e-6, NaN equals NaN."""
    kind = kind_of(first)
    if kind != kind_of(second):
        return False
    if kind == "floats":
        if isinstance(first, (list, tuple)) and len(first) != len(second):
            return False  # allclose would broadcast an empty list
        return close(first, second, rtol=1e-05, atol=1e-06, equal_nan=True)
    if kind in ("list", "tuple"):
        return len(first) == len(second) and all(equal(a, b) for a, b in zip(first, second, strict=True))
    if kind == "dict":
        return len(first) == len(second) and all(
            key in second and equal(value, second[key]) for key, value in first.items()
        )
    return bool(first == second)


def kind_of(value):
    """Name the kind of a value; a flat list or tuple of floats, empty ones included, is one kind with a float."""
    if value is None:
        return "none"
    for plain in (bool, int, str):  # bool first: it is an int too
        if isinstance(value, plain):
            return plain.__name__
    if isinstance(value, float) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, float) for item in value)
    ):
        return "floats"
    if getattr(getattr(value, "dtype", None), "kind", "") == "f":
        return "floats"
    for known in (tuple, list, dict, set, type):
        if isinstance(value, known):
            return known.__name__
    return "other"


def polynomial(coefficients, x):
    """Evaluate Σ cᵢ xⁱ."""
    return sum(c * math.pow(x, power) for power, c in enumerate(coefficients))


def palindrome(output, wanted, text):
    """difficult/10: any palindrome of the same length that begins with the text, letter case aside."""
    return len(output) == len(wanted) and output.startswith(text) and output.lower() == output[::-1].lower()


def zero_in_interval(output, wanted, coefficients, interval):
    """difficult/32: any zero inside the interval, to 0.02, or none if there is none."""
    if wanted is None:
        return output is None
    return interval[0] <= output <= interval[1] and abs(polynomial(coefficients, output)) <= 2e-2


def sparse_zero(output, wanted, coefficients):
    """subtle/32: a zero of the polynomial in which every second coefficient from the third on is zero."""
    spread = list(coefficients[:2])
    for coefficient in coefficients[2:]:
        spread += [0, coefficient]
    return abs(polynomial(spread, output)) <= 1e-6


def zero(output, wanted, coefficients):
    """HumanEval/32 of the verbose and concise sets: a zero of the polynomial, to HumanEval+'s tolerance for it."""
    return abs(polynomial(coefficients, output)) <= 1e-4


MOVES = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}


def inside_maze(maze, row, column):
    """Whether there is such a cell: a list takes negative places too."""
    return 0 <= row < len(maze) and 0 <= column < len(maze[row])


def maze_moves(output, wanted, maze, start, end):
    """creative/26: any list of moves that leads from start to end past the walls (1)."""
    if not wanted:
        return output == []
    row, column = start
    for move in output:
        row, column = row + MOVES[move][0], column + MOVES[move][1]
        if not inside_maze(maze, row, column) or maze[row][column] == 1:
            return False
    return (row, column) == tuple(end)


def maze_path(output, wanted, maze, start, end):
    """creative/30: any path of neighbouring open cells (not 0) from start to end."""
    if not wanted:
        return output == []
    if output[0] != start or output[-1] != end:
        return False
    return all(inside_maze(maze, x, y) for x, y in output) and all(
        maze[x][y] != 0 and abs(x - before_x) + abs(y - before_y) == 1
        for (before_x, before_y), (x, y) in itertools.pairwise(output)
    )


def product_pair(output, wanted, numbers, target):
    """creative/69: any pair of places whose numbers multiply to the target."""
    if wanted == "No magic today":
        return output == wanted
    if not isinstance(output, tuple):
        return False
    first, second = output
    return 0 <= first < second < len(numbers) and numbers[first] * numbers[second] == target


ORACLES = {
    "palindrome": palindrome,
    "zero_in_interval": zero_in_interval,
    "sparse_zero": sparse_zero,
    "zero": zero,
    "maze_moves": maze_moves,
    "maze_path": maze_path,
    "product_pair": product_pair,
}
