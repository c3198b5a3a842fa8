"""Readers of the pair lists of benchmarks, one format a file."""
