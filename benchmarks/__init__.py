"""Benchmarks of executorlib beside other executors; see README.md."""
