"""Benchmarks: one script a claim, one line printed and one JSON written a claim.

A timing on a shared machine says little, so every script measures its yardstick (the bare model, the peer, the machine's
matmul rate) in the same run, in alternation, and keeps the ratio. None of this is part of the test suite.
"""
