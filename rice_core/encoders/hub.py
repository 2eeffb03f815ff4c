"""What can go wrong between a model's name and its weights, as one sentence with the next step; and quiet while they are read."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
_KNOWN = (
    HTTPError,
    EntryNotFoundError,
    HFValidationError,
    OfflineModeIsEnabled,
    ConnectionError,
    TimeoutError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What `explained` has words of its own for."""


@contextmanager
def explained(spec: EncoderSpec) -> Iterator[None]:
    """Turn what the hub's client and the model libraries raise into a UserError.

    On a bad checkpoint the libraries may raise anything at all; `--debug` shows where it came from.

    Raises:
        UnknownModel: there is no such model that anybody may see.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = f"{spec.title}: {_sentence(error, spec.model)}"
        unknown = any(type(cause) is RepositoryNotFoundError for cause in _chain(error))
        raise (UnknownModel(said, spec.model) if unknown else UserError(said)) from error


@contextmanager
def about_file(spec: EncoderSpec, name: str) -> Iterator[None]:
    """As `explained`, for calls that can fail by one file of the checkpoint alone.

    Args:
        name: of the file, for the message.

    Raises:
        UserError: instead of what was raised, except for what `explained` knows better.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if any(isinstance(cause, _KNOWN) for cause in _chain(error)):
            raise
        raise UserError(
            f"{spec.title}: its {name} cannot be used ({_first_line(error)}); correct it, or fetch it again."
        ) from error


def json_object(spec: EncoderSpec, path: Path) -> dict[str, Any]:
    """What a JSON file of a checkpoint holds.

    Raises:
        UserError: it is not there, no JSON, or something else than an object.
    """
    try:
        body = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{spec.title}: the folder holds no {path.name}; give one that is complete.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{spec.title}: its {path.name} is no JSON ({_first_line(error)}); correct it, or fetch it again."
        ) from error
    if not isinstance(body, dict):
        raise UserError(f"{spec.title}: its {path.name} is no object in braces; correct it, or fetch it again.")
    return body


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
    text = str(error).strip()
    if text.startswith("Error(s) in loading state_dict"):  # torch says what is wrong from the second line on
        text = " ".join(text.split())
    line = (text.splitlines() or [""])[0].rstrip(". ")[:300]
    # A key or an attribute alone says nothing.
    return (
        line
        if line and isinstance(error, (OSError, RuntimeError, ValueError, HTTPError))
        else f"{type(error).__name__}: {line}"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and advice of transformers in the middle of ours."""
    import transformers

    chatter: Any = transformers.utils.logging
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity(chatter.CRITICAL)  # errors of a bad checkpoint reach the user as a UserError
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
