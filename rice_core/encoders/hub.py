"""What can go wrong between a model's name and its weights, as one sentence with the next step."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from rice_core.errors import UnknownModel, UserError
from rice_core.spec import EncoderSpec

HTTPError = HfHubHTTPError.__bases__[0]
"""Of whichever HTTP library the hub's client is built on."""
EXPECTED: tuple[type[BaseException], ...] = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    HTTPError,
    EntryNotFoundError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What the libraries raise for a bad name or file; anything else is our own mistake and keeps its traceback."""


@contextmanager
def explained(spec: EncoderSpec) -> Iterator[None]:
    """Turn what the hub's client and the model libraries raise into a UserError.

    Raises:
        UnknownModel: there is no such model that anybody may see.
    """
    try:
        yield
    except UserError:
        raise
    except EXPECTED as error:
        said = f"{spec.title}: {_sentence(error, spec.model)}"
        unknown = any(type(cause) is RepositoryNotFoundError for cause in _chain(error))
        raise (UnknownModel(said, spec.model) if unknown else UserError(said)) from error


def _sentence(error: BaseException, model: str) -> str:
    for cause in _chain(error):
        match cause:
            case GatedRepoError():
                return (
                    f"the repository is gated; ask for access at https://huggingface.co/{model}, "
                    "then run `hf auth login` or set HF_TOKEN."
                )
            case RevisionNotFoundError():
                return "there is no such revision; give a branch, tag or commit of the repository after the @."
            case RepositoryNotFoundError():
                return (
                    "there is neither a folder nor a public repository of that name; "
                    "check the spelling, or log in if it is private."
                )
            case HFValidationError():
                return "there is no such folder, and it is no repository name either (org/name); check the spelling."
            case OfflineModeIsEnabled() | LocalEntryNotFoundError():
                return (
                    "it is not in the hub's local cache and the hub cannot be reached; go online and run again, "
                    "or give a local folder."
                )
            case EntryNotFoundError():
                return f"a file of it is missing ({_first_line(cause)}); give a repository or folder that is complete."
            case pickle.UnpicklingError():
                return "its weights are damaged, or a pickle that holds more than tensors, which is never opened; convert them to safetensors."
            case SafetensorError():
                return f"its weights file is damaged ({_first_line(cause)}); fetch it again."
            case _ if isinstance(cause, (HTTPError, ConnectionError, TimeoutError)):
                return f"the hub did not answer ({_first_line(cause)}); run again, or give a local folder."
    return f"it cannot be loaded ({_first_line(error)}); check the name, the revision and the files."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, innermost reason last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")[:300]
