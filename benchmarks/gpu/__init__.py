"""`make gpu`: what this project does on one GPU, in ten minutes, without a network.

A file here is one measurement and one claim. Each runs in a process of its own, so that one that fails, hangs or breaks the
device leaves the others alone; its reason stands in the JSON. `python -m benchmarks.gpu --tiny` runs the same code on a CPU at
sizes that say nothing, so that the tests know that it runs.
"""
