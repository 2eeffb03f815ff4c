"""One thread a process: pytest-xdist brings the parallelism, and spinning OpenMP threads would fight over the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
