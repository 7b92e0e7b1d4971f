"""Find values of the response that agree with whatever its tests compare them with.

Who decides a comparison is read off the classes: the ones that the interpreter, the libraries and the tests bring are
trusted, those that came with the response are not. A value of such a class, or one that holds some, is compared as it
is, and nothing else is done to it: what its methods count or use up is the tests' business. If the tests have passed,
they run again in a process of their own, which the response cannot tell from the first. There, before each comparison
that the response decides, the same is asked about another value in the place of the one it is compared with. A
comparison that agrees with three others, in three such runs, agrees with anything.
"""

import operator
import os
import sys

import objects  # pyright: ignore[reportMissingImports]
from objects import ANYWHERE, DICTS, LISTS, MOST, PLAIN, SETS, kind_of, members, parts  # pyright: ignore[reportMissingImports]

OPERATORS = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "within": lambda item, held: item in held, "without": lambda item, held: item not in held, "sub": operator.sub,
    "div": operator.truediv, "xor": operator.xor,
}  # fmt: skip
# The methods by which a class decides comparisons, and arithmetic that ends in one.
DECIDING = (
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__", "__sub__", "__rsub__",
    "__truediv__", "__rtruediv__", "__xor__", "__rxor__", "__array_function__", "__array_ufunc__",
)  # fmt: skip
CLOSELY = 2_000  # comparisons that are looked at while the tests decide
NUMBERS = frozenset(map(id, (int, float, complex, bool)))
DIFFERENCES = ("sub", "xor")  # are nothing where the values agree
# Parameters of assertions that are none of the two values.
BESIDE = frozenset({"msg", "message", "err_msg", "verbose"})


class Forged(Exception):
    """A value or a replaced function would have made any test pass."""


class Compared:
    """What stands in the tests' code for the comparisons themselves; values of plain types pass through."""

    __slots__ = ("look",)

    def __init__(self, look):
        self.look = look

    def marks(self, mark):
        """Return what to install in the tests' code, by the constants that stand for it."""
        return {f"{mark}values": self, f"{mark}id": id, f"{mark}type": type, f"{mark}plain": PLAIN}

    def eq(self, a, b, site, truth):
        """Compare by `==`."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a == b
        return self.look.compare("eq", a, b, site, truth)

    def ne(self, a, b, site, truth):
        """Compare by `!=`."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a != b
        return self.look.compare("ne", a, b, site, truth)

    def lt(self, a, b, site, truth):
        """Compare by `<`."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a < b
        return self.look.compare("lt", a, b, site, truth)

    def le(self, a, b, site, truth):
        """Compare by `<=`."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a <= b
        return self.look.compare("le", a, b, site, truth)

    def gt(self, a, b, site, truth):
        """Compare by `>`."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a > b
        return self.look.compare("gt", a, b, site, truth)

    def ge(self, a, b, site, truth):
        """Compare by `>=`."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a >= b
        return self.look.compare("ge", a, b, site, truth)

    def within(self, a, b, site, truth):
        """Look for one value in another."""
        if (id(type(a)) in PLAIN and id(type(b)) in PLAIN) or self.look.loose:
            return a in b
        return self.look.compare("within", a, b, site, truth)

    def without(self, a, b, site, truth):
        """Look for one value in another, in vain."""
        if (id(type(a)) in PLAIN and id(type(b)) in PLAIN) or self.look.loose:
            return a not in b
        return self.look.compare("without", a, b, site, truth)

    def sub(self, a, b, site, truth):
        """Subtract."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a - b
        return self.look.compare("sub", a, b, site, truth)

    def div(self, a, b, site, truth):
        """Divide."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a / b
        return self.look.compare("div", a, b, site, truth)

    def xor(self, a, b, site, truth):
        """Take the symmetric difference."""
        if id(type(a)) in PLAIN and id(type(b)) in PLAIN:
            return a ^ b
        return self.look.compare("xor", a, b, site, truth)

    def seen(self, value, site):
        """Look at one value of a chain of comparisons."""
        return value if id(type(value)) in PLAIN else self.look.alone(value, site)

    def asserted(self, site, function, *values, **words):
        """Call an assertion, or another function that compares its first two arguments."""
        return self.look.call(site, function, values, words)

    def own(self, kind):
        """Remember that a class is of the tests."""
        self.look.theirs.add(kind)
        return kind


class Look:
    """What is known of the compared values of one run.

    `saved`: what was there before the response, a `guards.Snapshot`. `other` is None while the tests decide, else the
    number of the run with other values. `files` are those of the response and its tests. `writes`: has the response
    the means to change what is not its own?
    """

    def __init__(self, saved, mentioned, other, files, writes=True):
        self.known, self.held = saved.known, saved.held if writes else None
        self.mentioned, self.other, self.files = mentioned, other, files
        self.theirs, self.trusted, self.deciding = objects.Kinds(), objects.Kinds(), objects.Kinds()
        self.comparing, self.identical = objects.Kinds(), objects.Kinds()
        self.asked_for, self.loose = 0, False
        self.met = set()  # comparisons that the response decides
        self.lying = set()  # places in the tests where one agreed with another value, too
        self.drawn = int.from_bytes(os.urandom(4), "little") | 1

    # -- who decides --

    def decides(self, value):
        """Tell whether the class of a value came with the response and has a say in comparisons."""
        kind = type(value)
        if kind in objects.PROXIES:  # whatever stands behind
            return True
        if kind in self.trusted:
            return False
        if kind in self.deciding:
            return True
        for name in DECIDING:
            for base in objects.bases_of(kind):
                if name in objects.names_of(base):
                    if not self.trusts(base, name):
                        self.deciding.add(kind)
                        return True
                    break
        # A class of the response may get such a method later.
        if not objects.flags_of(kind) & objects.HEAP_TYPE or id(kind) in self.known or kind in self.theirs:
            self.trusted.add(kind)
        return False

    def trusts(self, base, name):
        """Tell whether a class is the interpreter's, a library's, or the tests' own."""
        if not objects.flags_of(base) & objects.HEAP_TYPE or base in self.theirs:
            return True
        if id(base) in self.known:
            if self.held is not None and not any(kind is base and name == each for kind, _, each, _ in self.held):
                return False  # the class has been given this method by the response
            return not any(objects.name_of(base).startswith(each) for each in self.mentioned)
        origin = objects.origin_of(base)
        code = getattr(objects.names_of(base)[name], "__code__", None)
        return origin is not None and (code is None or code.co_filename == origin)

    def holds(self, value):
        """Tell whether a value is one that the response decides about, or holds some."""
        return next(self.deciders(value, objects.Walk()), None) is not None

    def deciders(self, value, walk, outermost=True):
        """Yield the values that the response decides about, of a value and all that it holds; each in a tuple."""
        waiting = [value]
        while waiting and walk.left >= 0:
            value = waiting.pop()
            if id(type(value)) in PLAIN or not walk.new(value):
                continue
            if self.decides(value):
                yield (value,)
            inner = parts(value) if self.compares(type(value), outermost) else ()
            outermost = False
            if not PLAIN.issuperset(map(id, map(type, inner))):
                inner = [each for each in inner if not objects.is_plain(each)]
                waiting += inner
                walk.left -= len(inner)

    def compares(self, kind, outermost=False):
        """Tell whether a comparison may come to what values of a class hold: not where it is by identity.

        What a library's objects are made of has such classes, too, and the library looks into it.
        """
        if kind not in self.comparing and kind not in self.identical:
            own = (objects.names_of(base) for base in objects.bases_of(kind) if base is not object)
            (self.comparing if any(name in names for names in own for name in DECIDING) else self.identical).add(kind)
        if kind in self.comparing or outermost:
            return kind in self.comparing
        return (
            id(kind) in self.known
            or not objects.flags_of(kind) & objects.HEAP_TYPE
            or objects.origin_of(kind) is not None
        )

    # -- the comparisons --

    def compare(self, name, a, b, site, truth):
        """Do what the tests ask for; `truth`: whether they take the result as true or false at once."""
        ask = OPERATORS[name]
        if self.loose:
            return ask(a, b)
        self.asked_for += 1
        if self.asked_for > CLOSELY and self.other is None:
            # Loops of the tests shall not take much longer: the run with other values will see.
            self.met, self.loose = {ANYWHERE}, True
        if not (self.holds(a) or self.holds(b)):
            return ask(a, b)
        if self.other is None:
            answer = ask(a, b)
            if type(answer) is not bool or self.agrees(name, answer, truth):
                self.met.add(site)
            return answer
        for first, second, within in self.others(name, a, b):
            found, answer = self.asked(OPERATORS["eq"] if within else ask, first, second)
            if found and self.agrees("eq" if within else name, answer, truth):
                self.lying.add(site)
                # Not asked again: the response would notice.
                return answer if not within else name in ("eq", "within")
        return ask(a, b)

    @staticmethod
    def asked(function, *values):
        """Call a function; returns whether it answered, and what."""
        try:
            return True, function(*values)
        except BaseException:
            return False, None

    def agrees(self, name, answer, truth):
        """Tell whether an answer says that the compared values fit."""
        if name == "div":
            return id(type(answer)) in NUMBERS and answer == 1
        if name in DIFFERENCES:
            size = answer if id(type(answer)) in NUMBERS else self.asked(abs, answer)[1]
            return size == 0 if id(type(size)) in NUMBERS else self.asked(operator.not_, answer) == (True, True)
        if type(answer) is bool:
            return answer is (name not in ("ne", "without"))
        if answer is NotImplemented:
            return False
        try:
            if hasattr(answer, "dtype") or hasattr(answer, "dtypes"):
                while hasattr(answer, "all") and getattr(answer, "shape", ()):
                    answer = answer.all()
                return bool(answer) is (name not in ("ne", "without"))
            return bool(answer) if truth or isinstance(answer, int) else False
        except Exception:
            return False

    def others(self, name, a, b):
        """Yield pairs to compare in the place of two values, and whether they lay within them."""
        if name in ("eq", "ne"):
            yield from self.pairs(a, b, False, objects.Walk())
        elif name == "div" or name in DIFFERENCES:
            if kind_of(a, SETS) and not parts(a):
                return  # nothing is left of it, whatever is taken away
            yield (a, self.another(b), False) if self.decides(a) else (self.another(a), b, False)
        elif name in ("within", "without"):
            if self.decides(b):
                yield self.another(a), b, False
            else:
                by_hash = kind_of(b, (*SETS, *DICTS))
                for each in members(b)[:MOST] if kind_of(b, objects.CONTAINERS) else objects.wrapped(b):
                    if self.decides(a) and (hash_of(a) == hash_of(each) or not by_hash):
                        yield self.same_hash(each), a, True
                    elif self.decides(each):
                        yield each, self.same_hash(a), True
        elif self.decides(a) and extremes(b):
            yield a, extremes(b)[name in ("gt", "ge")], False
        elif self.decides(b) and extremes(a):
            yield extremes(a)[name in ("lt", "le")], b, False

    def pairs(self, a, b, within, walk):
        """Yield what to compare of two values, where the response decides about one of them."""
        walk.left -= 1
        if (within and a is b) or walk.left < 0 or (id(type(a)) in PLAIN and id(type(b)) in PLAIN):
            return
        if not walk.new(a, b):
            return
        first, second = self.decides(a), self.decides(b)
        if first or second:
            if not self.is_theirs(b) and not self.is_theirs(a):
                if first:
                    yield a, self.another(b), within
                if second:
                    yield self.another(a), b, within
            # What the two are made of decides for them, where they are alike.
            if type(a) is type(b):
                mine, other = (getattr(each, "__dict__", None) or {} for each in (a, b))
                for key in mine:
                    if key in other:
                        yield from self.pairs(mine[key], other[key], True, walk)
                return
        if kind_of(a, LISTS) and kind_of(b, LISTS):
            for one, two in zip(members(a), members(b)):  # noqa: B905 - Python 3.8 has no strict
                if id(type(one)) not in PLAIN or id(type(two)) not in PLAIN:
                    yield from self.pairs(one, two, True, walk)
        elif kind_of(a, DICTS) and kind_of(b, DICTS):
            yield from self.hashed(members(a), members(b))
            for key in members(a):
                if not self.decides(key) and dict.__contains__(b, key):
                    yield from self.pairs(dict.__getitem__(a, key), dict.__getitem__(b, key), True, walk)
        elif kind_of(a, SETS) and kind_of(b, SETS):
            yield from self.hashed(members(a), members(b))
        elif type(a) is type(b) and bool(parts(a)) is bool(parts(b)):
            # Of a library, and made of what may be the response's: a namespace, a table, a view of a dictionary.
            for one, two in zip(parts(a), parts(b)) if self.compares(type(a)) else ():  # noqa: B905
                yield from self.pairs(one, two, True, walk)
        elif not (first or second):
            yield from self.unwrapped(a, b, walk)

    def unwrapped(self, a, b, walk):
        """Yield what to compare where one value is a wrapper of what is compared, as a UserList is of a list."""
        for wrapper, other, turned in ((a, b, False), (b, a, True)):
            if kind_of(wrapper, objects.CONTAINERS) or id(type(wrapper)) in PLAIN:
                continue
            kind = kind_of(other, objects.CONTAINERS)
            alike = [each for each in objects.wrapped(wrapper) if kind and kind_of(each, objects.CONTAINERS) is kind]
            for each in alike:
                yield from self.pairs(*((other, each) if turned else (each, other)), True, walk)
            for (each,) in () if alike else self.deciders(wrapper, walk, outermost=False):
                for value in members(other) or (other,):
                    walk.left -= 1
                    if walk.left < 0:
                        return
                    yield each, self.another(value), True
                    yield each, self.same_hash(value), True

    def hashed(self, a, b):
        """Yield elements of sets that the response decides about, with what else their hash would lead to."""
        if PLAIN.issuperset(map(id, map(type, a))) and PLAIN.issuperset(map(id, map(type, b))):
            return
        for mine, others in ((a, b), (b, a)):
            for each in mine:
                if self.decides(each):
                    for other in others:
                        if hash_of(each) == hash_of(other) and not self.decides(other) and not self.is_theirs(other):
                            yield each, self.same_hash(other), True

    def is_theirs(self, value):
        """Tell whether the tests' own class, or a matcher of a library, decides about a value."""
        kind = type(value)
        for base in objects.bases_of(kind):
            if "__eq__" in objects.names_of(base):
                return base in self.theirs or (objects.name_of(base) == "_ANY" and not self.decides(value))
        return False

    def alone(self, value, site):
        """Look at one value of a chain of comparisons."""
        if self.holds(value):
            self.met.add(site)
            for (each,) in self.deciders(value, objects.Walk()) if self.other is not None else ():
                for name in ("eq", "lt", "gt"):
                    unlike = self.word(5) if name == "eq" else float("-inf") if name == "lt" else float("inf")
                    found, answer = self.asked(OPERATORS[name], each, unlike)
                    if found and self.agrees(name, answer, True):
                        self.lying.add(site)
        return value

    def call(self, site, function, values, words):
        """Call an assertion of two values; in a run with other values it must notice those."""
        if values and id(type(values[0])) in PLAIN and (id(type(values[1])) in PLAIN if len(values) > 1 else not words):
            return function(*values, **words)
        if function is isinstance and len(values) == 2 and self.masked(*values):
            raise Forged(f"a {objects.name_of(type(values[0]))} claims to be of another class")
        places = [*range(len(values)), *(each for each in words if each not in BESIDE)]
        given = [*values, *(words[each] for each in places[len(values) :])]
        if len(given) < 2 or function is isinstance or not (self.holds(given[0]) or self.holds(given[1])):
            return function(*values, **words)
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if code is not None and code.co_filename in self.files:
            # Comparisons in functions of the tests are looked at where they stand.
            return function(*values, **words)
        self.met.add(site)
        if self.other is not None:
            a, b = given[:2]
            tries = []
            if self.decides(a):
                tries.append((a, self.another(b)))
            if self.decides(b):
                tries.append((self.another(a), b))
            for pair in tries:
                other = dict(zip(places, [*pair, *given[2:]]))  # noqa: B905 - Python 3.8 has no strict
                positional = [other.pop(place) for place in range(len(values))]
                found, answer = self.asked(lambda own=positional, named=other: function(*own, **{**words, **named}))
                if found and (answer is None or self.agrees("eq", answer, False)):
                    self.lying.add(site)
                    return answer
            if not tries:
                for first, second, _ in self.pairs(a, b, False, objects.Walk()):
                    found, answer = self.asked(OPERATORS["eq"], first, second)
                    if found and self.agrees("eq", answer, True):
                        self.lying.add(site)
                        return None
        return function(*values, **words)

    def masked(self, value, kinds):
        """Tell whether a value passes for one of a class by what the response says about `__class__`."""
        kind = type(value)
        for base in objects.bases_of(kind):
            if "__class__" in objects.names_of(base) and not self.trusts(base, "__class__"):
                try:
                    return isinstance(value, kinds) and not issubclass(kind, kinds)
                except TypeError:
                    return False
        return False

    # -- other values --

    def number(self, most):
        """Draw a number, from a generator of its own: those of the program stay where they are."""
        self.drawn = (self.drawn * 1103515245 + 12345) % (1 << 31)
        return (self.drawn >> 8) % most

    def word(self, length):
        """Draw a word."""
        return "".join(chr(97 + self.number(26)) for _ in range(length))

    def another(self, value):
        """Return a value of the same kind, as likely to be met, that differs."""
        kind, turn = type(value), self.other or 0
        if kind is bool:
            return not value
        if kind is int:
            return value + (1 + 2 * self.number(3), -1009 - 2 * self.number(50), 10**6 + self.number(10**5))[turn]
        if kind is float or kind is complex:
            away = (0.5 + self.number(7), -1000.25 - self.number(99), 1e6 + self.number(10**5))[turn]
            return value + away if value == value and abs(value) < 1e12 else away
        if kind is str or kind is bytes:
            drawn = (self.word(len(value) or 3), self.word(2), self.word(7))[turn]
            other = (drawn if turn != 1 else str(value) + drawn) if kind is str else drawn.encode()
            return other if other != value else self.word(9) if kind is str else value + b"x"
        if kind is list or kind is tuple:
            return kind(self.another(each) for each in value) if value else kind([self.number(100)])
        if kind is set or kind is frozenset:
            return kind(self.another(each) for each in value if id(type(each)) in PLAIN) or kind([self.word(4)])
        if kind is dict:
            return {key: self.another(each) for key, each in value.items()} or {self.word(4): self.number(100)}
        for step in (lambda: value + (1, 7, 1000)[turn], lambda: value + sys.modules["datetime"].timedelta(1 + turn)):
            if not self.decides(value) and value is not None:
                found, other = self.asked(step)
                if found:
                    return other
        return (self.number(10**4), self.word(5), [self.number(100)])[turn]

    def same_hash(self, value):
        """Return another value whose hash is the same, for sets and dictionaries to find."""
        other, kept = self.another(value), hash_of(value)
        if type(other) not in (int, str, float, bytes, tuple):
            return other

        class Like(type(other)):  # pyright: ignore[reportGeneralTypeIssues]
            __slots__ = ()
            __hash__ = lambda self: kept  # noqa: E731

        self.theirs.add(Like)
        return Like(other)


def hash_of(value):
    """Return a hash, or None."""
    try:
        return hash(value)
    except Exception:
        return None


def extremes(value):
    """Return what lies below and above all values of a kind; empty for most kinds."""
    if isinstance(value, (int, float)):
        return (float("-inf"), float("inf"))
    if type(value) is str:
        return ("", "\U0010ffff" * 3)
    return ()
