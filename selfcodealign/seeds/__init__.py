"""Seed gathering: from raw source files to functions worth learning from (paper, appendix B)."""
