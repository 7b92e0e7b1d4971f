"""Self-alignment of code models: what two or more stages share. Nothing here imports Snakemake."""

__version__ = "0.1.0"
