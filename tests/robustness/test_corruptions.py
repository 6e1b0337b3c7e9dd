import numpy as np
import pytest
import torch
from scipy import ndimage

from robustness.corruptions import EXTRA, SEVERITIES, STANDARD, GlassBlur, Saturate, ZoomBlur
from robustness.corruptions.fields import motion_blur, plasma, sample, zoom

COLORS = torch.Generator().manual_seed(0)
IMAGES = torch.nn.functional.interpolate(torch.rand(6, 3, 8, 8, generator=COLORS), scale_factor=4, mode="bicubic")
IMAGES = (IMAGES.clamp(0, 1) * 255).byte()
KINDS = pytest.mark.parametrize("kind", [*STANDARD, *EXTRA], ids=lambda kind: kind.__name__)


def damage(corrupted, images=IMAGES):
    return (corrupted.double() - images.double()).abs().mean().item()


def test_there_are_those_of_cifar_10_c_under_their_names():
    names = ", ".join(kind().name for kind in STANDARD)
    assert names == (
        "gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, "
        "fog, brightness, contrast, elastic_transform, pixelate, jpeg_compression"
    )
    assert [kind().name for kind in EXTRA] == ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
    assert all(len(kind.strengths) == 5 for kind in (*STANDARD, *EXTRA))


@KINDS
def test_an_image_depends_on_its_number_and_not_on_its_batch(kind):
    for severity in SEVERITIES:
        whole = kind()(IMAGES, severity, range(10, 16))
        assert whole.dtype == torch.uint8
        assert whole.shape == IMAGES.shape
        parts = [kind()(IMAGES[i : i + 1], severity, [10 + i]) for i in range(6)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1)  # numpy sums in another order
        assert (torch.cat(parts) != whole).double().mean() < 1e-3


@KINDS
def test_damages_and_keeps_the_picture(kind):
    for severity in SEVERITIES:
        corrupted = kind()(IMAGES, severity, range(6))
        assert 0.5 < damage(corrupted) < 90
        if kind is not Saturate:  # which makes most of these colors pure
            pairs = torch.stack([corrupted.double().flatten(), IMAGES.double().flatten()])
            assert torch.corrcoef(pairs)[0, 1] > 0.3


@pytest.mark.parametrize("kind", [kind for kind in STANDARD if kind.__name__ not in ("ElasticTransform", "Snow")])
def test_the_last_severity_damages_more_than_the_first(kind):
    assert damage(kind()(IMAGES, 5, range(6))) > 1.3 * damage(kind()(IMAGES, 1, range(6)))


@KINDS
def test_gray_images_stay_gray_or_are_refused(kind):
    digits = IMAGES[:, :1]
    if kind is Saturate:
        with pytest.raises(ValueError, match="needs RGB"):
            kind()(digits, 1, range(6))
    else:
        assert kind()(digits, 5, range(6)).shape == digits.shape


@pytest.mark.parametrize("kind", [kind for kind in STANDARD if kind.__name__.endswith("Noise")])
def test_another_number_or_seed_draws_other_noise(kind):
    first = kind()(IMAGES, 3, range(6))
    assert not torch.equal(first, kind()(IMAGES, 3, range(1, 7)))
    assert not torch.equal(first, kind()(IMAGES, 3, range(6), seed=1))


@pytest.mark.parametrize(("kind", "deviation"), [("GaussianNoise", 0.1), ("ShotNoise", (0.5 / 50) ** 0.5)])
def test_noise_has_the_published_strength(kind, deviation):
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    kind = next(each for each in STANDARD if each.__name__ == kind)
    assert kind()(grey, 5, range(20)).double().std() / 255 == pytest.approx(deviation, rel=0.02)


def test_a_severity_that_is_none_is_refused():
    with pytest.raises(ValueError, match="severity must be 1 to 5, got 6"):
        ZoomBlur()(IMAGES, 6, range(6))


def test_glass_moves_values_from_above_and_the_left_only():
    edge = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    edge[..., 16:, :] = 255
    moved = GlassBlur()(edge, 1, [0])
    assert (moved[..., :16, :] == 0).all()
    assert (moved[..., 16, 2:] != 255).any()


def test_sampling_and_zooming_are_what_scipy_does():
    x = np.random.default_rng(0).random((2, 3, 32, 32))
    rows, columns = np.random.default_rng(1).uniform(-20, 50, (2, 2, 32, 32))
    mapped = [
        [ndimage.map_coordinates(plane, [rows[n], columns[n]], order=1, mode="reflect") for plane in x[n]]
        for n in range(2)
    ]
    np.testing.assert_allclose(sample(x, rows, columns), mapped, atol=1e-12)
    for factor in 1, 1.11, 1.25, 2.25:
        crop = int(np.ceil(32 / factor))
        start = (32 - crop) // 2
        middle = x[..., start : start + crop, start : start + crop]
        large = ndimage.zoom(middle, (1, 1, factor, factor), order=1)
        trim = (large.shape[-1] - 32) // 2
        np.testing.assert_allclose(zoom(x, factor), large[..., trim : trim + 32, trim : trim + 32], atol=1e-12)


def test_motion_along_a_row_is_half_a_gaussian():
    point = np.zeros((1, 1, 32, 32))
    point[..., 5, 20] = 1
    smeared = motion_blur(point, 3, 2.0, np.array([0.0]))[0, 0]
    weights = np.exp(-0.5 * (np.arange(7) / 2.0) ** 2)
    np.testing.assert_allclose(smeared[5, 20:13:-1], weights / weights.sum())
    assert np.count_nonzero(smeared) == 7


def test_the_smallest_plasma_by_hand():
    noise = np.zeros((1, 2, 2))
    noise[0, 1, 1] = 1  # the center: 1, and the diamonds the mean of two centers and two corners: 1/2
    np.testing.assert_allclose(plasma(noise, 3)[0], [[0, 0.5], [0.5, 1]])
