"""What runs inside a worker: its sources are sent over a socket and run by the image's own Python, 3.8 or newer.

Nothing here may import anything but the standard library, nor each other by package name: `layers.BOOT` gives every
module its siblings. `kernel` speaks to Linux, `judge` reads programs, `translate` compiles them, `guards` sees what a
response has tampered with, `collect` runs tests that nobody calls, with `fixtures` of pytest's, `harness` runs one
program, `zygote` forks a process for it, `watch` looks at that process from outside, `worker` brings them together.
"""

MODULES = ("kernel", "judge", "translate", "guards", "fixtures", "collect", "harness", "zygote", "watch", "worker")
