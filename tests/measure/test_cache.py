"""The feature cache: what went in comes out, damage is noticed, the oldest leaves first."""

import os
from pathlib import Path

import numpy as np
import pytest

from rice_core.bundle import Bundle
from rice_core.measure.cache import FeatureCache
from rice_core.store import Store

KEY = "ab" * 32


def shard(value: float = 1.0) -> Bundle:
    return Bundle({"x": np.full((4, 8), value, np.float32), "h": np.ones((2,), np.float16)}, {"skipped": []})


def test_a_shard_comes_back_equal(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    assert cache.get(KEY) is None
    cache.put(KEY, shard())
    found = cache.get(KEY)
    assert found is not None
    assert found.notes == {"skipped": []}
    np.testing.assert_array_equal(found.arrays["x"], shard().arrays["x"])
    assert found.arrays["h"].dtype == np.float16
    assert (cache.hits, cache.misses) == (1, 1)


def test_an_empty_shard_keeps_its_notes(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    cache.put(KEY, Bundle({}, {"skipped": [{"item": "a", "reason": "b"}]}))
    found = cache.get(KEY)
    assert found is not None
    assert found.arrays == {}
    assert found.notes["skipped"][0]["item"] == "a"


@pytest.mark.parametrize("where", [0, 9, 40, -1, -40])
def test_a_flipped_bit_is_noticed_and_quarantined(tmp_path: Path, where: int) -> None:
    cache = FeatureCache(Store(tmp_path))
    cache.put(KEY, shard())
    path = next((tmp_path / "cache").rglob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(bytes(data))
    assert cache.get(KEY) is None
    assert not path.exists()
    assert any((tmp_path / "quarantine").iterdir())


def test_a_truncated_shard_is_noticed(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    cache.put(KEY, shard())
    path = next((tmp_path / "cache").rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:50])
    assert cache.get(KEY) is None
    assert len(list((tmp_path / "quarantine").glob("*.reason"))) == 1


def test_the_least_recently_used_leave_first(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path), max_bytes=3000)
    keys = [f"{i:02x}" * 32 for i in range(12)]
    for i, key in enumerate(keys):
        cache.put(key, shard(i))
        path = tmp_path / "cache" / key[:2] / f"{key}.safetensors"
        if path.exists():
            os.utime(path, (1000 + i, 1000 + i))
        if i == 3:
            assert cache.get(keys[0]) is not None  # used again, so it is the newest
    assert cache.size() <= 3000
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[1]) is None
    assert cache.clear() > 0
    assert cache.size() == 0


def test_a_key_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 hex"):
        FeatureCache(Store(tmp_path)).get("../" * 20 + "abcd")
