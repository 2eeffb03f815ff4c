"""Where things of a clip are in each of its frames: smooth walks towards places that change, below a top speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rice_core.world.shapes import Floats

FASTEST = 0.6
"""Sides that an object moves in a frame at most, what the camera adds included."""

_OWN = 0.33
"""Sides a frame of its own movement at first size; objects shrink, and the camera moves."""
_PAN = 2.0
"""Pixels a frame of the camera, at a height of 144."""
_PULL, _KEPT = 0.03, 0.75
"""Share of the way to its goal that a walk speeds up by in a frame, and share of its speed that it keeps."""
_GOAL_FRAMES = 9


@dataclass(frozen=True)
class Walk:
    """A thing's way: its centre in pixels of the frame, its radius and its turn, a row a frame."""

    centre_T2: Floats
    radius_T: Floats
    turn_T: Floats
    """Degrees."""


def pan(rng: np.random.Generator, frames: int, scale: float) -> Floats:
    """How far the camera has moved since the first frame: x and y in pixels, T x 2; at most 40 either way at 144."""
    most = 40.0 * scale
    place, speed = np.zeros(2), np.zeros(2)
    places = [place]
    for _ in range(frames - 1):
        speed = 0.9 * speed + rng.normal(0, 0.35 * scale, 2) - 0.01 * place
        speed *= min(1.0, _PAN * scale / max(1e-9, float(np.hypot(*speed))))
        moved = np.clip(place + speed, -most, most)
        place, speed = moved, moved - place
        places.append(place)
    return np.stack(places)


def walk(
    rng: np.random.Generator, start_2: Floats, goals_G2: Floats, radius: float, pan_T2: Floats, *, growth: float = 1.3
) -> Walk:
    """A walk from `start_2` over the goals, each for some frames.

    Args:
        start_2: x and y in pixels, as the goals.
        goals_G2: the last one holds for what is left of the clip.
        radius: of the first frame, in pixels.
        growth: by which factor the radius changes at most, either way.
    """
    frames, scale = len(pan_T2), radius / 13
    place, speed = start_2, np.zeros(2)
    places = [place]
    for t in range(1, frames):
        goal = goals_G2[min((t - 1) // _GOAL_FRAMES, len(goals_G2) - 1)]
        speed = _KEPT * speed + _PULL * (goal - place) + rng.normal(0, 0.5 * scale, 2)
        speed *= min(1.0, 2 * _OWN * radius / max(1e-9, float(np.hypot(*speed))))
        place = place + speed - (pan_T2[t] - pan_T2[t - 1])
        places.append(place)
    return Walk(np.stack(places), radius * _drift(rng, frames, growth), _turns(rng, frames))


def goals_for(frames: int) -> int:
    """How many goals a clip of so many frames has."""
    return -(-(frames - 1) // _GOAL_FRAMES)


def _drift(rng: np.random.Generator, frames: int, growth: float) -> Floats:
    """A factor that begins at 1 and swings between 1 / growth and growth."""
    phase = np.cumsum(np.r_[0.0, rng.uniform(0.02, 0.16, frames - 1)])
    sign = rng.choice([-1.0, 1.0])
    return np.asarray(np.exp(sign * np.log(growth) * np.sin(phase)))


def _turns(rng: np.random.Generator, frames: int) -> Floats:
    """Degrees: a turn at first and a slow swing."""
    swing = np.sin(np.cumsum(np.r_[0.0, rng.uniform(0.05, 0.2, frames - 1)]))
    return np.asarray(rng.uniform(-15, 15) + rng.uniform(-20, 20) * swing)
