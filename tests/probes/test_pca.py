"""PCA colours: scikit-learn as oracle, one basis for all images, and features without variance."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from probes import pca


def parts(offset: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    mix_CC = generator.standard_normal((10, 10))
    return [generator.standard_normal((n, 10)) @ mix_CC + offset for n in (30, 7, 50)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_equals_scikit_learn_with_its_signs(offset: float, seed: int) -> None:
    basis = pca.fit_basis(iter(parts(offset, seed)))
    x_TC = np.concatenate(parts(offset, seed))
    oracle = PCA(3, svd_solver="full").fit(x_TC)
    np.testing.assert_allclose(basis.mean_C, oracle.mean_, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(basis.explained_K, oracle.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(basis.components_KC, oracle.components_, atol=1e-6)
    np.testing.assert_allclose(basis.project(x_TC), oracle.transform(x_TC), atol=1e-4)


def test_how_tokens_are_divided_into_parts_does_not_matter() -> None:
    whole, streamed = pca.fit_basis([np.concatenate(parts())]), pca.fit_basis(parts())
    np.testing.assert_allclose(whole.components_KC, streamed.components_KC, atol=1e-9)


def test_equal_content_has_equal_colours_wherever_it_stands() -> None:
    generator = np.random.default_rng(0)
    first_CHW, second_CHW = generator.standard_normal((2, 6, 4, 5)).astype(np.float32)
    second_CHW[:, :, 2:] = first_CHW[:, :, :3]
    basis = pca.fit_basis(image.reshape(6, -1).T for image in (first_CHW, second_CHW))
    first, second = pca.colours(basis, [first_CHW, second_CHW])
    assert first.shape == (4, 5, 3)
    np.testing.assert_array_equal(second[:, 2:], first[:, :3])
    assert first.dtype == np.uint8


def test_scaling_is_shared_and_runs_from_the_1st_to_the_99th_percentile() -> None:
    images = [np.arange(k, k + 100, dtype=np.float32).reshape(1, 10, 10) for k in (0, 100)]
    basis = pca.fit_basis(image.reshape(1, -1).T for image in images)
    low, high = pca.colours(basis, images)
    p1, p99 = np.percentile(np.arange(200), (1, 99))
    expected = np.round(255 * ((np.arange(200) - p1) / (p99 - p1)).clip(0, 1))
    np.testing.assert_allclose(np.concatenate([low[..., 0].ravel(), high[..., 0].ravel()]), expected, atol=1)
    assert low.min() == 0
    assert high.max() == 255
    assert (low[..., 1:] == 128).all()  # One channel has one component.


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e4])
def test_constant_features_are_grey_and_explain_nothing(value: float) -> None:
    images = [np.full((5, 3, 4), value, np.float32)] * 2
    basis = pca.fit_basis(image.reshape(5, -1).T for image in images)
    np.testing.assert_array_equal(basis.explained_K, 0)
    assert all((colours == 128).all() for colours in pca.colours(basis, images))


def test_what_rounding_makes_of_constant_features_is_no_direction() -> None:
    noise_CHW = np.random.default_rng(0).standard_normal((5, 3, 4))
    images = [(3 + 2e-7 * noise_CHW).astype(np.float32)]
    basis = pca.fit_basis(image.reshape(5, -1).T for image in images)
    assert np.ptp(images[0]) > 0
    np.testing.assert_array_equal(basis.explained_K, 0)
    assert (pca.colours(basis, images)[0] == 128).all()


def test_no_part_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        pca.fit_basis([])


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (8, 4, 2), (5, 4, 2)])
def test_the_sheet_puts_each_map_beside_its_image(count: int, columns: int, rows: int) -> None:
    pixels = [np.full((40, 60, 3), 10 + k, np.uint8) for k in range(count)]
    maps = [np.random.default_rng(k).integers(256, size=(4, 6, 3), dtype=np.uint8) for k in range(count)]
    sheet = pca.sheet(pixels, maps)
    h, w, gap = 192, 288, pca.GAP
    assert sheet.shape == (rows * (h + gap) + gap, columns * (2 * w + 3 * gap) + gap, 3)
    for k in range(count):
        top, left = gap + k // 4 * (h + gap), gap + k % 4 * (2 * w + 3 * gap)
        assert (sheet[top : top + h, left : left + w] == 10 + k).all()
        left += w + gap // 2
        np.testing.assert_array_equal(sheet[top : top + h : 48, left : left + w : 48], maps[k])
        np.testing.assert_array_equal(sheet[top + 47 : top + h : 48, left + 47 : left + w : 48], maps[k])
