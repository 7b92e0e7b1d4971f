"""What runs inside a worker: its sources are sent over a socket and run by the image's own Python, 3.8 or newer.

Nothing here may import anything but the standard library, nor each other by package name: `boot` gives every module
its siblings. `kernel` speaks to Linux, `judge` reads programs, `harness` runs one program, `zygote` forks them.
"""

MODULES = ("kernel", "judge", "harness", "zygote")
