"""Records in; tables, figures and a static site out. Nothing here imports torch or runs an encoder by itself.

`Bench` is the way in from Python: the same store, runs, tables and comparisons as the commands'.
"""

from reports.bench import Bench

__all__ = ["Bench"]
