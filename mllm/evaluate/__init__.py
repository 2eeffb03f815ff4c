"""Answers of a model to the benchmarks, and what they are worth."""
