"""Code that judges programs from inside the sandbox, one module for each way of judging.

A judge imports nothing of this project: its source text is sent into the sandbox, which may run another Python with
other packages. Each has `judge(program, data, blobs, report)`; `report(group, status, **measures)` may be called as
soon as a group is decided, so that a later kill does not take back what was found before.
"""
