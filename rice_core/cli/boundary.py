"""The boundary for the unexpected: whatever escapes a command becomes one sentence with the next step."""

from __future__ import annotations

import errno
import re

from rice_core.errors import UserError

USAGE, FAULT, INTERRUPTED = 2, 1, 130
"""Exit codes: something the user can mend, a fault of ours, and Ctrl-C."""
_FULL = ("No space left on device", "Disk quota exceeded")
_REFUSED = ("Permission denied", "Read-only file system")
"""How libraries that raise errors of their own (safetensors, torch) quote the system."""


def explained(error: Exception) -> tuple[str, int]:
    """The sentence for an error that escaped, and the exit code."""
    match error:
        case UserError():
            from rice_core.catalogue import explained as with_names

            return re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}...{word[0][-20:]}", with_names(error)), USAGE
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return (
                f"The disk is full{_at(error)}; what was finished is safe. Free some space, then run the same command again.",
                USAGE,
            )
        case OSError() if error.filename is not None:
            return (
                f"{_name(error.filename)} cannot be used ({error.strerror}); check the path and who may write there.",
                USAGE,
            )
        case UnicodeEncodeError():
            return (
                f"A name holds bytes that are no text ({error.object[max(0, error.start - 30) : error.end + 30]!a}); rename the file or folder, then run again.",
                USAGE,
            )
        case Exception() if any(words in str(error) for words in _FULL):
            return (
                "The disk is full; what was finished is safe. Free some space, then run the same command again.",
                USAGE,
            )
        case Exception() if said := next((words for words in _REFUSED if words in str(error)), None):
            return f"A file cannot be written ({said}); choose another folder, or check who may write there.", USAGE
        case MemoryError():
            return "There is not enough memory; try a smaller --batch, or fewer --workers.", FAULT
    reason = f"{type(error).__name__}: {_short(str(error))}".rstrip(": .")
    return f"{reason}; what was finished is safe. Run the same command with --debug to see where, and report it.", FAULT


def _at(error: OSError) -> str:
    return f" ({_name(error.filename)})" if error.filename is not None else ""


def _name(filename: object) -> str:
    return _short(filename.decode(errors="backslashreplace") if isinstance(filename, bytes) else str(filename))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."
