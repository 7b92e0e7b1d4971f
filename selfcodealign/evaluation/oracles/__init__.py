"""Code that judges programs from inside the sandbox, one module for each way of judging.

An oracle imports nothing of this project but its neighbours: its text is sent into the sandbox with theirs, which
may run another Python with other packages. One that judges from outside the program's reach has `decide(nursery, data,
secret, inputs, report)` and starts the program's processes by `outside.Run`; one that runs the tests beside the program
has `judge(program, data, report)`. `report(group, status, **measures)` may be called as soon as a group is decided, so
that a later kill does not take back what was found before.
"""
