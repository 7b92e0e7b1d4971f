"""How fast it is: one file for each benchmark, `python -m benchmarks` runs them and keeps what they found."""
