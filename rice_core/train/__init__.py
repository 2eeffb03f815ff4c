"""The training loop that all trainings run on: steps, checkpoints, rates, hooks."""
