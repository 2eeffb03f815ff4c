"""What a scene holds, in plain words: the caption that the scene would have on a web page.

    a striped triangle, scissors and a sun, with the words bafo and gilade

In random order, and now and then without an object, as captions of the web leave things out.
"""

from __future__ import annotations

import numpy as np

from rice_core.world.scenes import Scene
from rice_core.world.shapes import Level, categories

LEFT_OUT = 0.15
"""Chance that a caption does not mention an object."""

_STREAM = 0xCA
"""Third number of the generator's seed, so that writing a caption draws nothing from the generator of the pixels."""

_TEXTURES = {"solid": "plain", "stripes": "striped", "dots": "dotted", "checks": "checked"}
_SHAPES = {"half": "half disk"}
_ICONS = {
    "yin-yang": "a yin-yang sign",
    "radiation": "a radiation sign",
    "peace": "a peace sign",
    "recycling": "a recycling sign",
    "warning": "a warning sign",
    "scissors": "scissors",
    "notes": "music notes",
    "hammers": "two hammers",
    "swords": "two swords",
    "scales": "scales",
    "lightning": "lightning",
    "frown": "a frowning face",
    "eject": "an eject sign",
}


def write_caption(scene: Scene, seed: int, index: int, level: Level = "easy") -> str:
    """The caption of scene `index` of the world `seed`: the same whenever it is written.

    At least one object is mentioned where there is one, and every word that can be read.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index, _STREAM]))
    names = categories(level)
    objects = [phrase(names[scene.things[k].category]) for k in rng.permutation(len(scene.things))]
    mentioned = [
        words for words, left_out in zip(objects, rng.random(len(objects)) < LEFT_OUT, strict=True) if not left_out
    ]
    caption = _listed(mentioned or objects[:1]) or "a picture"
    texts = [word.text for word in scene.words]
    return f"{caption}, with the word{'s' * (len(texts) > 1)} {_listed(texts)}" if texts else caption


def phrase(category: str) -> str:
    """A category's name in words: `triangle-stripes` is "a striped triangle"."""
    kind, what = category.split("-", 1)
    if kind == "icon":
        return _ICONS.get(what) or _with_article(what)
    return _with_article(f"{_TEXTURES[what]} {_SHAPES.get(kind, kind)}")


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
