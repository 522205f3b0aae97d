"""Programs that run experiments and benchmarks, and write pages of what came out."""
