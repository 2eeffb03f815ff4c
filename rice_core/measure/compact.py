"""Arrays of a shard exactly as the cache gives them back, so that a first run and a later one compute with the same bits.

Letters: N images, C channels, H x W the patch grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rice_core.bundle import Arrays


def compact(dense_NCHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float16] | npt.NDArray[np.float32]:
    """Half the bytes where float16 holds the range (11 bits of mantissa); very large or tiny features stay float32.

    An image is rounded or not by its own range alone: what it comes to must not depend on those that share its batch. So
    where only some can be halved, these are rounded all the same, and stay float32 beside the others.
    """
    largest_N = np.abs(dense_NCHW).max((1, 2, 3), initial=0.0)
    held_N = (largest_N > 1e-2) & (largest_N < 6e4)
    if held_N.all():
        return dense_NCHW.astype(np.float16)
    rounded_NCHW = dense_NCHW.copy()
    rounded_NCHW[held_N] = dense_NCHW[held_N].astype(np.float16)
    return rounded_NCHW


def concatenated(parts: Sequence[Arrays]) -> Arrays:
    """Arrays by name, joined along their first axis. C-contiguous: sums and products round differently in another layout."""
    names = parts[0] if parts else ()
    return {name: np.ascontiguousarray(np.concatenate([part[name] for part in parts])) for name in names}
