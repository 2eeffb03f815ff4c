"""`python -m rice_core.cli`: the command `ricebench`, also for torchrun -m."""

from rice_core.cli import main

if __name__ == "__main__":  # processes that are spawned import this file again
    main()
