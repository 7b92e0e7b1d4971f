"""A benchmark and a backend that selfcodealign finds by their entry points."""
