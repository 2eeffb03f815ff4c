"""The one way to a terminal for text that may come from outside: names of files, encoders, classes, words of an error."""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import TextIO

_BREAKS = re.compile("[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_JOINERS = "\u200c\u200d"  # part of ordinary spelling in many scripts, and they move no text


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print the lines of `text`, each `visible`, to standard output or standard error."""
    stream: TextIO = sys.stderr if err else sys.stdout
    # What the terminal's encoding lacks is spelled out too, where it would end the command.
    known = "\n".join(map(visible, text.split("\n"))).encode(stream.encoding or "utf-8", "backslashreplace")
    stream.write(known.decode(stream.encoding or "utf-8") + "\n" * nl)
    stream.flush()


def emit(document: str) -> None:
    """Print a document as it is: a table, a page or JSON, whose renderer has made every entry `visible` or escaped it."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(document.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def visible(text: str) -> str:
    """The text on one line, with control, direction-changing and other unseen characters spelled out (`\\u202e`).

    An ANSI escape or a right-to-left override in a name would otherwise rewrite what the reader sees around it.
    """
    if text.isprintable():  # nearly every name; nothing that isprintable lets through is unseen
        return text
    return "".join(_spelled(char) for char in _BREAKS.sub(" ", text))


def _spelled(char: str) -> str:
    unseen = unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in _JOINERS
    return char.encode("unicode_escape").decode() if unseen else char
