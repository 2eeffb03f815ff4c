"""Which probe is measured on which data set: what the words of `--data` say.

    FOLDER           for every probe that can use it
    coco-det=FOLDER  for the probe of that name
    detection=FOLDER for the probes that declare that role

What is more particular wins: a probe has the folders given to its name, else those given to its role, else those for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rice_core.disk.paths import at_home
from rice_core.errors import UserError, did_you_mean
from rice_core.probe import Probe

if TYPE_CHECKING:
    from rice_core.datasets import Dataset

_ALL = ""
"""The role of a folder that is for every probe."""


def address(words: Sequence[str], probes: Sequence[Probe]) -> list[tuple[str, str]]:
    """The words of `--data` as (role, folder). A folder that has a `=` in its own name comes first.

    Raises:
        UserError: a role that no probe here has, no folder behind it, or a probe that is left without data.
    """
    roles = {name for probe in probes for name in _names(probe)} - {_ALL}
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


def _names(probe: Probe) -> tuple[str, str, str]:
    """What its data may be given to, the most particular first."""
    return probe.name, getattr(probe, "role", _ALL), _ALL
