"""One split becomes train and val: whole scenes go to one of them, about a fifth of the images to val."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rice_core.datasets.groups import named_scenes
from rice_core.datasets.nouns import NOUNS, Dataset, Item, Sample
from rice_core.datasets.scenes import Scenes, scenes_of
from rice_core.datasets.shared import shared_note
from rice_core.datasets.splits import AnyItem, by_id
from rice_core.datasets.twins import copies, with_twin_notes
from rice_core.digest import json_digest
from rice_core.errors import UserError

ALL = "all"
"""The name of a split that is to be divided, where it is the only one."""
_SHARE = 5
_MOST = {True: 200_000, False: 20_000}
"""Images, where they are to be divided and elsewhere, of which files that are there twice are sought before anything is measured; a
run reads them all in any case, and says so."""


def divided(dataset: Dataset, groups: str, folder: str) -> Dataset:
    """The data set with train and val, and with its scenes; what was done is among its notes.

    Of a set with splits of its own only val's images get their scenes: the error of a number is clustered by them.

    Args:
        groups: as the user names them (`rice_core.datasets.groups`); empty leaves it to names, fields and bytes.
        folder: as the user calls it.

    Raises:
        UserError: all images are of one scene, the groups cannot be read, or there are no images to group.
    """
    samples = [sample for split in dataset.splits for sample in dataset.samples(split)]
    if not samples:
        if groups:
            raise UserError(f"{folder} holds no images whose scenes could be told apart; leave out ?groups=.")
        return dataset
    whole = {*dataset.splits} == {ALL}
    twins = copies(samples) if len(samples) <= _MOST[whole] else []
    dataset = with_twin_notes(
        dataset, {s.id: s.id for s in samples} | {item: same[0] for same in twins for item in same}
    )
    if not whole:
        return _given(dataset, groups)
    scenes = named_scenes(dataset, samples, groups) if groups else scenes_of(samples, dataset.classes)
    return _divided(dataset, _with_twins(scenes, twins), folder, named=bool(groups))


def _given(dataset: Dataset, groups: str) -> Dataset:
    train, val = dataset.samples("train"), dataset.samples("val")
    if not val:
        return dataset
    spec, notes, named = dataset.spec, [*dataset.notes], None
    # What a probe does with train, holding out a part of it say, stays what it was where nobody names its groups.
    of_train = Scenes({}, {})
    if groups:
        both = of_train = named_scenes(dataset, [*train, *val], groups)
        named, scenes = (
            both.of,
            Scenes({s.id: both.of[s.id] for s in val}, {s.id: both.by[s.id] for s in val if s.id in both.by}),
        )
        spec = spec.model_copy(update={"fingerprint": json_digest([spec.fingerprint, dict(both.of)])[:20]})
    else:
        scenes = scenes_of(val, dataset.classes, sure=True)
    if scenes.by:
        notes.append(f"Errors are clustered by scene: of val {scenes}")
    if said := shared_note(train, val, named):
        notes.append(said)
    placed = {"train": tuple(_placed(train, of_train))} if train else {}
    splits = {**dataset.splits, **placed, "val": tuple(_placed(val, scenes))}
    return dataclasses.replace(dataset, spec=spec, splits=splits, notes=tuple(notes))


def _with_twins(scenes: Scenes, twins: Sequence[Sequence[str]]) -> Scenes:
    """Scenes that have a file in common are one."""
    one: dict[str, str] = {}

    def root(scene: str) -> str:
        while scene in one:
            scene = one[scene]
        return scene

    by = dict(scenes.by)
    for same in twins:
        for item in same:
            by.setdefault(item, "files that are there twice")
            if (here := root(scenes.of[item])) != (first := root(scenes.of[same[0]])):
                one[here] = first
    of = {item: root(scene) for item, scene in scenes.of.items()}
    # Where every file is the same one there is nothing to tell apart by names either: it is divided, and said.
    return scenes if len({*of.values()}) == 1 else dataclasses.replace(scenes, of=of, by=by)


def _divided(dataset: Dataset, scenes: Scenes, folder: str, *, named: bool) -> Dataset:
    samples = list(_placed(dataset.samples(ALL), scenes))
    n = len({*scenes.of.values()})
    if n == 1 and len(samples) > 1:
        raise UserError(
            f"{folder} has no val split, and none can be made of it: its {len(samples)} images are of one scene by {next(iter(scenes.by.values()))}. Put a val "
            f"split beside it, name the groups ('{folder}?groups=FILE.csv', a field or /REGEX/), or write ?groups=none if each image "
            "stands for itself."
        )
    splits = divide(samples)
    sizes = {split: len(items) for split, items in splits.items()}
    said = f"{sizes['val']} of {len(samples)} images are val"
    how = "by the order of their hashed names; nothing says that some show one scene"
    if named:
        how = "by the order of their hashed names, each for itself, as ?groups= says"
    if scenes.by:
        how = f"whole scenes of {n}: {scenes}"
    doubt = ""
    if scenes.doubt:
        doubt = (
            f"Files are numbered as {scenes.doubt}, and each was taken for a picture of its own; if they are frames of a video, val shows what "
            f"train has: name the groups (FOLDER?groups=...)"
        )
    # Which images are val, and which errors are clustered, is part of what a data set is asked for by.
    groups = {sample.id: sample.scene for sample in samples if sample.scene}
    mark = json_digest([dataset.spec.fingerprint, [sample.id for sample in splits["val"]], groups])[:20]
    return dataclasses.replace(
        dataset,
        spec=dataset.spec.model_copy(update={"fingerprint": mark}),
        splits=splits,
        annotations=dict.fromkeys(splits, dataset.annotations[ALL]) if ALL in dataset.annotations else {},
        saw="; ".join(filter(None, [dataset.saw, f"there is no val split, so {said}"])),
        notes=(*dataset.notes, f"Train and val were divided here: {said}, {how}", *filter(None, [doubt])),
    )


def with_train(dataset: Dataset) -> Dataset:
    """Videos that nobody has divided as train and val, whole videos by the rule for images; what was done is among its notes.

    That is for a training on them; else all of them are there to be judged on.
    """
    items = dataset.splits.get(ALL, ())
    if {*dataset.splits} != {ALL} or len(items) < 2:
        return dataset
    splits = divide(items)
    said = f"{len(splits['val'])} of {len(items)} {NOUNS[type(items[0])]} are val, by the order of their hashed names"
    mark = json_digest([dataset.spec.fingerprint, [item.id for item in splits["val"]]])[:20]
    return dataclasses.replace(
        dataset,
        spec=dataset.spec.model_copy(update={"fingerprint": mark}),
        splits=splits,
        notes=(*dataset.notes, f"Train and val were divided here: {said}; nothing says that some show one scene"),
    )


def divide(samples: Iterable[AnyItem]) -> dict[str, tuple[AnyItem, ...]]:
    """About a fifth of the images becomes `val`: scenes in the order of their hashed names, while they bring it nearer to a fifth.

    A file more moves few others, since the order of the rest stays. Classes of images are gone through one after the other, so
    that each has its fifth, and none gives all of its images. At least one scene is val, the smallest.
    """
    of_scene: defaultdict[str, list[AnyItem]] = defaultdict(list)
    for sample in samples:
        of_scene[sample.cluster].append(sample)
    left = Counter(_label(item) for found in of_scene.values() for item in found)
    seen, chosen, val = 0, 0, set[str]()
    of_class = defaultdict(list)
    for scene, found in of_scene.items():
        of_class[min(map(_label, found))].append(scene)
    for _, scenes in sorted(of_class.items()):
        seen += sum(len(of_scene[scene]) for scene in scenes)
        for scene in sorted(scenes, key=_hashed):
            size, labels = len(of_scene[scene]), Counter(map(_label, of_scene[scene]))
            nearer = size < 2 * (seen / _SHARE - chosen)
            if nearer and all(left[label] > n for label, n in labels.items()):
                left -= labels
                chosen += size
                val.add(scene)
    val = val or {min(of_scene, key=lambda scene: (len(of_scene[scene]), _hashed(scene)))}
    parts: dict[str, list[AnyItem]] = {"train": [], "val": []}
    for scene, found in of_scene.items():
        parts["val" if scene in val else "train"] += found
    return {split: by_id(found) for split, found in parts.items()}


def _label(item: Item) -> int:
    """Of a whole image; -1 where it has none."""
    return -1 if not isinstance(item, Sample) or item.label is None else item.label


def _placed(samples: Iterable[Sample], scenes: Scenes) -> Iterator[Sample]:
    """The images with their scenes."""
    for sample in samples:
        scene = scenes.of[sample.id] if sample.id in scenes.by else None
        yield sample if sample.scene == scene else dataclasses.replace(sample, scene=scene)


def _hashed(scene: str) -> str:
    return hashlib.sha256(scene.encode()).hexdigest()
