"""What runs inside a worker: its modules are sent over a socket and run by the image's own Python, 3.8 or newer.

Nothing here may import anything but the standard library, nor each other by package name: `layers.BOOT` gives every
module its siblings. `kernel` speaks to Linux; `syntax`, `refused`, `vacuity`, `stub`, `mutants` and `instruments` read
and rewrite programs, `translate` compiles them; `objects`, `values` and `guards` see what a response does to its tests,
`pytest_style` runs tests that nobody calls, with `fixtures` and `marks` as pytest has them, `hooks` is what tests get
of the harness, `program` makes a process the program's own, `harness` runs one program; `zygote` forks a process for
it, `monitor` looks at that process from outside, `worker` brings them together.
"""

# In the order in which they are loaded: each needs those before it.
MODULES = (
    "kernel", "syntax", "objects", "values", "refused", "vacuity", "stub", "mutants", "instruments", "translate",
    "guards", "fixtures", "marks", "pytest_style", "hooks", "program", "harness", "zygote", "monitor", "worker",
)  # fmt: skip
