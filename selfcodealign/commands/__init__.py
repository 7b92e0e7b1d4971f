"""The tools of `python -m selfcodealign`, a module each: `add_arguments` and `main`."""
