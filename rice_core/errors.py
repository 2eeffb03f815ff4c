"""Errors a user can cause. Each message is one sentence that ends in the next step; the command line prints it bare."""


class UserError(Exception):
    """A mistake the user can mend. The message says what is wrong and what to do next. Exit code 2."""


class MissingExtra(UserError):
    """A library behind an optional extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f'{what} needs an optional library that is not installed; run: pip install "ricebench[{extra}]"'
        )


class StoreError(UserError):
    """The store cannot be written (full disk, no permission): the run stops, and what was finished is safe."""


class NotApplicable(Exception):
    """A probe cannot say anything about this encoder or data set (no masks, no labels). Reported, never a failure."""
