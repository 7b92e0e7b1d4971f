"""Tests of minutes on the real benchmark files: `make test-benchmarks` runs them, `make test` does not."""

import os

collect_ignore_glob = [] if os.environ.get("SELFCODEALIGN_BENCHMARK_TESTS") == "1" else ["test_*.py"]
