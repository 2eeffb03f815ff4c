"""Which probe is measured on which data set: what the words of `--data` say.

    FOLDER           for every probe that can use it
    coco-det=FOLDER  for the probe of that name
    detection=FOLDER for the probes that declare that role
    train=FOLDER     not to be judged on: for the probes that may learn from it (rice_core.probe.Learns)

What is more particular wins: a probe has the folders given to its name, else those given to its role, else those for all.
Of the folders given to `train` a probe learns from those that it takes, whatever their order; without any from its own train split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rice_core.datasets.division import ALL, with_train
from rice_core.disk.paths import at_home
from rice_core.errors import UserError, did_you_mean
from rice_core.probe import Learns, Probe, lessons

if TYPE_CHECKING:
    from rice_core.datasets import Dataset

_ALL = ""
"""The role of a folder that is for every probe."""
TRAIN = "train"
"""That of a folder to learn from."""
_GROUPS = "?groups="


def parted(words: Sequence[str]) -> list[str]:
    """The words of `--data` that a comma separates; not in the name of a folder that is there, nor in `?groups=/.../`."""
    return [part for word in words for part in _parts(word.split(","))]


def _parts(pieces: list[str]) -> Iterator[str]:
    while pieces:
        n = _first(pieces)
        yield ",".join(pieces[:n]).strip()
        pieces = pieces[n:]


def _first(pieces: list[str]) -> int:
    """How many of the pieces between commas are the first word."""
    asking = next((k for k, piece in enumerate(pieces) if _GROUPS in piece), len(pieces))
    folders = [piece.partition(_GROUPS)[0] for piece in pieces[: asking + 1]]
    n = next((n for n in range(len(folders), 0, -1) if _is_there(",".join(folders[:n]).strip())), 1)
    if n <= asking:
        return n
    asked = [",".join(pieces[asking:end]).partition(_GROUPS)[2] for end in range(n, len(pieces) + 1)]
    whole = (k for k, groups in enumerate(asked) if not groups.startswith("/") or re.fullmatch(r"/.+/\s*", groups))
    return n + next(whole, len(asked) - 1)


def _is_there(word: str) -> bool:
    """Whether it is a folder, as it is or with a role before it and a layout behind it."""
    role, _, behind = word.partition("=")
    texts = [word] if "," in role else [word, behind]
    return any(each and at_home(each).is_dir() for text in texts for each in (text, re.sub(r"@[^,=@/]*$", "", text)))


def address(words: Sequence[str], probes: Sequence[Probe]) -> list[tuple[str, str]]:
    """The words of `--data` as (role, folder). A folder that has a `=` in its own name comes first.

    Raises:
        UserError: a role that no probe here has, no folder behind it, or a probe that is left without data.
    """
    roles = {name for probe in probes for name in _names(probe)} - {_ALL}
    roles |= {TRAIN for probe in probes if isinstance(probe, Learns)}
    found = []
    for word in words:
        role, equals, folder = word.partition("=")
        if not equals or "/" in role or "?" in role or at_home(word).is_dir():  # FOLDER?groups=...
            role, folder = _ALL, word
        elif role not in roles:
            raise UserError(
                f"--data {word}: none of these probes is called {role!r} or has that role; {did_you_mean(role, roles)}"
                f"write one of {', '.join(sorted(roles))} before the =, or ./{word} for a folder of that name."
            )
        if not folder:
            raise UserError(f"--data {word}: the folder is missing; write --data {role or 'ROLE'}=FOLDER.")
        found.append((role, folder))
    without = [probe.name for probe in probes if not {role for role, _ in found} & {*_names(probe)}]
    if without:
        raise UserError(
            f"{', '.join(dict.fromkeys(without))}: no --data is for it; "
            f"add --data {without[0]}=FOLDER, or --data FOLDER for every probe that can use it."
        )
    return found


def addressed(probes: Sequence[Probe], given: Sequence[tuple[str, Dataset]]) -> tuple[tuple[Probe, Dataset], ...]:
    """The pairs, one data set after the other.

    Of several data sets for all, a probe has those that it can use. Where it can use none it has all: their records say why.
    """
    mine = []
    for probe in probes:
        for name in _names(probe):
            data = [dataset for role, dataset in given if role == name]
            if name == _ALL:
                data = [dataset for dataset in data if probe.data <= dataset.provides] or data
            if data:
                mine.append((probe, {dataset.spec for dataset in data}))
                break
    datasets = {dataset.spec: dataset for _, dataset in given}
    return tuple((probe, dataset) for spec, dataset in datasets.items() for probe, specs in mine if spec in specs)


def taught(
    pairs: Sequence[tuple[Probe, Dataset]], given: Sequence[tuple[str, Dataset]]
) -> tuple[tuple[Probe, Dataset], ...]:
    """The pairs, where a probe learns from what is given to `train` with its data set told so.

    Args:
        given: each data set to learn from, after the words that gave it.

    Raises:
        UserError: one of them no probe takes, or it has nothing to learn from.
    """
    wanted = {ALL, *(split for probe, _ in pairs for split in lessons(probe))}
    if bare := next((word for word, dataset in given if not any(map(dataset.splits.get, wanted))), None):
        raise UserError(f"{bare} has no train split; give a folder that has one, or that is one.")
    for word, dataset in given:
        if not any(isinstance(probe, Learns) and probe.learns_from(dataset) for probe, _ in pairs):
            names = ", ".join(dict.fromkeys(probe.name for probe, _ in pairs))
            raise UserError(f"{word} is for no probe here: {names} cannot learn from it; leave it out.")
    others = {dataset.spec: dataset for _, dataset in given}
    return tuple((probe, _taught(probe, dataset, [*others.values()])) for probe, dataset in pairs)


def _taught(probe: Probe, judged: Dataset, others: Sequence[Dataset]) -> Dataset:
    if not isinstance(probe, Learns):
        return judged
    # The order of the words is no part of what is learnt.
    mine = tuple(sorted(filter(probe.learns_from, others), key=lambda each: (each.spec.name, each.spec.fingerprint)))
    if not mine or (mine == (judged,) and TRAIN in judged.splits):  # the latter is what it does without being told
        return with_train(judged)
    spec = judged.spec.model_copy(update={"learnt_from": tuple(each.spec for each in mine)})
    return replace(judged, spec=spec, learnt_from=mine)


def _names(probe: Probe) -> tuple[str, str, str]:
    """What its data may be given to, the most particular first."""
    return probe.name, getattr(probe, "role", _ALL), _ALL
