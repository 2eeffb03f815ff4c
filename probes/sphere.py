"""t-SNE on a sphere (paper Figure 1): points stay on S^2 throughout, instead of being thrown onto it afterwards.

Ordinary t-SNE (van der Maaten and Hinton 2008) with two changes. Its kernel is a Student t of the chord,
    q_ij ~ w_ij = 1 / (1 + s |y_i - y_j|^2),   |y| = 1,   s = N / 16,
and the points follow the Riemannian gradient: projected onto the tangent plane, then normalised again. A map in three
dimensions that is normalised at the end lays clusters on top of each other that differ in their distance from the
centre alone. s is the squared radius of a sphere whose area grows with N, so that a neighbourhood of given perplexity
covers about the same share of it as in a plane map. Tried without gain: a learned radius (the points clump), early
exaggeration, carrying the momentum from tangent plane to tangent plane.
Letters: N objects, C channels, K neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.floating]

STEPS = 600
LEARNING_RATE = 0.2
FALLING_FROM = 0.4
"""Share of the steps after which the learning rate falls to zero, in a straight line: the layout settles."""


def embed(x_NC: Floats, *, perplexity: float, seed: int, steps: Iterable[int] = range(STEPS)) -> Floats:
    """Lay N features out on the unit sphere so that neighbours by cosine stay neighbours.

    Exact, O(N^2) in time and memory: meant for N <= 2000. Feature vectors are normalised first; a zero vector is allowed.

    Args:
        x_NC: finite features.
        perplexity: effective number of neighbours, lowered as `possible` says.
        steps: the numbers 0 to STEPS - 1; a progress bar may stand between.

    Returns:
        N x 3 unit vectors, float64.

    Raises:
        ValueError: fewer than 4 objects.
    """
    if len(x_NC) < 4:
        raise ValueError(f"a map needs at least 4 objects, not {len(x_NC)}")
    unit_NC = normalised(np.asarray(x_NC, dtype=np.float64))
    p_NN = affinities(unit_NC, possible(perplexity, len(unit_NC))).astype(np.float32)
    y_N3 = _initial(unit_NC, np.random.default_rng(seed)).astype(np.float32)
    mean_N3, square_N1 = np.zeros_like(y_N3), np.zeros((len(y_N3), 1), np.float32)
    # The products are N x 3: BLAS threads only wait for each other there (1.3 s against 7 to 10 s for 1000 objects).
    with threadpool_limits(1, user_api="blas"):
        for step in steps:
            gradient_N3 = gradient(p_NN, y_N3)
            # Adam with one second moment a point: the same in every rotation of the sphere, unlike one a coordinate.
            mean_N3 = 0.9 * mean_N3 + 0.1 * gradient_N3
            square_N1 = 0.99 * square_N1 + 0.01 * (gradient_N3 * gradient_N3).sum(1, keepdims=True)
            unbiased = math.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            rate = LEARNING_RATE * min(1.0, (1 - step / STEPS) / (1 - FALLING_FROM))
            y_N3 = normalised(y_N3 - rate * unbiased * mean_N3 / (np.sqrt(square_N1) + 1e-12))
    return normalised(y_N3.astype(np.float64))


def possible(perplexity: float, objects: int) -> float:
    """The perplexity, or (N - 1) / 3 where it is lower: with more neighbours than that most objects are neighbours of most."""
    return min(perplexity, (objects - 1) / 3)


def affinities(x_NC: Floats, perplexity: float) -> Floats:
    """Symmetric joint probabilities p_ij = (p_j|i + p_i|j) / 2N with Gaussian widths of the wanted perplexity.

    Equal distances (constant features) give equal probabilities, whatever the perplexity.

    Returns:
        N x N, sum 1, diagonal 0.
    """
    N = len(x_NC)
    squares_N = (x_NC * x_NC).sum(1)
    d_NN = np.maximum(squares_N[:, None] + squares_N - 2 * x_NC @ x_NC.T, 0)
    d_NN[d_NN < 1e-12] = 0  # Rounding, which the search below would magnify into neighbourhoods.
    np.fill_diagonal(d_NN, np.inf)
    d_NN -= d_NN.min(1, keepdims=True)  # Leaves p_j|i as it is and keeps the largest weight at 1.
    conditional_NN = _conditional(d_NN, perplexity)
    return (conditional_NN + conditional_NN.T) / (2 * N)


def gradient(p_NN: Floats, y_N3: Floats) -> Floats:
    """The Riemannian gradient of KL(p | q), N x 3 and tangent: -4 s sum_j (p_ij - q_ij) w_ij y_j, projected.

    The term along y_i itself, which the chord's derivative also has, drops out in the projection.
    """
    w_NN = _kernel(y_N3)
    # In place from here on: this is the inner loop, and allocating N x N anew costs a third of its time.
    a_NN = w_NN * w_NN.dtype.type(-1 / w_NN.sum(dtype=np.float64))
    a_NN += p_NN
    a_NN *= w_NN
    return tangent(-4 * _stretch(len(y_N3)) * (a_NN @ y_N3), y_N3)


def tangent(v_N3: Floats, y_N3: Floats) -> Floats:
    """The part of each vector that is tangent to the sphere at its point."""
    return v_N3 - (v_N3 * y_N3).sum(1, keepdims=True) * y_N3


def normalised(x_NC: Floats) -> Floats:
    """Rows of length 1; a zero row stays zero."""
    length_N1 = np.linalg.norm(x_NC, axis=1, keepdims=True)
    return x_NC / np.where(length_N1 > 0, length_N1, 1)


def trust(x_NC: Floats, y_N3: Floats, *, neighbours: int = 10) -> float:
    """Trustworthiness (Venna and Kaski 2001) of the map: 1 where all neighbours on the sphere are neighbours by cosine.

    About 0.5 for a random map. Chords order points as angles do.

    Raises:
        ValueError: not more than twice as many objects as neighbours.
    """
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(normalised(np.asarray(x_NC, dtype=np.float64)), y_N3, n_neighbors=neighbours))


def purity(y_N3: Floats, label_N: npt.NDArray[np.integer], *, neighbours: int = 10) -> tuple[float, float]:
    """The share of each point's nearest neighbours on the sphere that have its label, and what random places give."""
    N = len(y_N3)
    cosine_NN = y_N3 @ y_N3.T
    np.fill_diagonal(cosine_NN, -np.inf)
    near_NK = np.argsort(-cosine_NN, axis=1, kind="stable")[:, :neighbours]
    count = np.unique(label_N, return_counts=True)[1].astype(np.float64)
    chance = float((count * (count - 1)).sum() / (N * (N - 1)))
    return float((label_N[near_NK] == label_N[:, None]).mean()), chance


def _stretch(N: int) -> float:
    return N / 16


def _kernel(y_N3: Floats) -> Floats:
    """w_ij, with a diagonal of 0; |y_i - y_j|^2 = 2 - 2 y_i . y_j for unit vectors."""
    w_NN = y_N3 @ y_N3.T
    w_NN *= -2 * _stretch(len(y_N3))
    w_NN += 1 + 2 * _stretch(len(y_N3))
    np.reciprocal(w_NN, out=w_NN)
    np.fill_diagonal(w_NN, 0)
    return w_NN


def _conditional(d_NN: Floats, perplexity: float) -> Floats:
    """p_j|i ~ exp(-beta_i d_ij), with each beta_i by bisection of its logarithm on the entropy log(perplexity)."""
    N = len(d_NN)
    finite_NN = np.where(np.isfinite(d_NN), d_NN, 0)
    typical_N1 = finite_NN.mean(1, keepdims=True)
    d_NN, finite_NN = (each / np.where(typical_N1 > 0, typical_N1, 1) for each in (d_NN, finite_NN))
    low_N1, high_N1 = np.full((N, 1), -20.0), np.full((N, 1), 20.0)
    for _ in range(40):
        middle_N1 = (low_N1 + high_N1) / 2
        p_NN = np.exp(-np.exp(middle_N1) * d_NN)
        sum_N1 = p_NN.sum(1, keepdims=True)
        entropy_N1 = np.log(sum_N1) + np.exp(middle_N1) * (p_NN * finite_NN).sum(1, keepdims=True) / sum_N1
        wide_N1 = entropy_N1 > math.log(perplexity)
        low_N1, high_N1 = np.where(wide_N1, middle_N1, low_N1), np.where(wide_N1, high_N1, middle_N1)
    return p_NN / sum_N1


def _initial(x_NC: Floats, generator: np.random.Generator) -> Floats:
    """The first three principal components, each to unit variance, normalised; noise where there are fewer."""
    centred_NC = x_NC - x_NC.mean(0)
    u_NK, size_K, _ = np.linalg.svd(centred_NC, full_matrices=False)
    u_NK = (u_NK * np.where(u_NK[np.abs(u_NK).argmax(0), np.arange(u_NK.shape[1])] < 0, -1, 1))[:, :3]
    y_N3 = 0.01 * generator.standard_normal((len(x_NC), 3))
    used = size_K[:3] > 1e-6
    y_N3[:, : u_NK.shape[1]][:, used] += u_NK[:, used] * math.sqrt(len(x_NC))
    return normalised(y_N3)
