"""The benchmarks: ``python -m tests.bench``. They measure and print; nothing fails for being slow."""
