"""Augmentation: what each transform does by hand, by mathematics, or written as a plain loop."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gan.augment import ADA, Augment, DiffAugment, Pipe
from gan.augment.color import Colors
from gan.augment.pipe import blit_maps, change_colors, cut_out, geometry_maps
from gan.augment.pixels import mirrored_back, shifted, take
from gan.augment.plane import rotation, scaling, translation
from gan.augment.resampling import SYM6, resample
from gan.randomness import as_normal
from gan.schedules import Cosine

EVERY = [DiffAugment(), ADA(cutout=1.0), Pipe(0.7, cutout=1.0)]
SHAPES = [(1, 16, 16), (3, 16, 16), (3, 8, 20), (1, 20, 8), (5, 8, 8)]


def name(augment: Augment) -> str:
    return type(augment).__name__


def images(shape: tuple[int, ...], count: int = 4) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, *shape, dtype=torch.float64)


def draws(augment: Augment, count: int = 4) -> Tensor:
    return torch.rand(count, augment.numbers, generator=torch.Generator().manual_seed(1))


def certain(augment: Augment) -> Augment:
    """With p near 1 for ADA, which starts at 0."""
    if isinstance(augment, ADA):
        augment.images_up.fill_(augment.images_to_one)
    return augment


def test_every_augmentation_is_tested():
    assert {type(each) for each in EVERY} == {ADA, DiffAugment, Pipe}


# What holds for all of them


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("augment", EVERY, ids=name)
def test_an_image_is_changed_for_itself(augment, shape):
    x, u = images(shape), draws(certain(augment))
    whole = augment(x, u)
    assert whole.shape == x.shape
    assert not torch.equal(whole, x)
    alone = torch.cat([augment(x[i : i + 1], u[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("augment", EVERY, ids=name)
def test_gradients_are_those_of_finite_differences(augment):
    x = images((3, 5, 6), 2).requires_grad_()
    u = draws(certain(augment), 2)
    assert torch.autograd.gradcheck(lambda x: augment(x, u), x)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, u).pow(3), x, fast_mode=True)


@pytest.mark.parametrize("augment", EVERY, ids=name)
def test_a_gradient_penalty_through_augmentation_trains(augment):
    """The gradient at the image before augmentation, differentiated with respect to a discriminator's weights."""
    weight = torch.randn(1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    x, u = images((3, 8, 8), 2), draws(certain(augment), 2)

    def penalty(weight: Tensor) -> Tensor:
        image = x.detach().requires_grad_()
        logits = F.conv2d(augment(image, u), weight).tanh().sum((1, 2, 3))
        (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
        return gradient.square().sum()

    assert torch.autograd.gradcheck(penalty, weight)


@pytest.mark.parametrize("augment", EVERY, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_formats_of_images_are_kept(augment, dtype):
    x, u = images((3, 16, 16)).to(dtype), draws(certain(augment))
    reference = augment(x.double(), u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, last = augment(x, u), augment(x.to(memory_format=torch.channels_last), u)
    assert plain.dtype == last.dtype == dtype
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(plain.double(), reference, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(last, plain, rtol=1e-5 if dtype == torch.float32 else 0.01, atol=1e-5)


# DiffAugment


def authors_diff_augment(x: Tensor, u: Tensor) -> Tensor:
    """The transforms as the paper's appendix has them, pixel by pixel."""
    channels, height, width = x.shape
    brightness, saturation, contrast, down, right, row, column = u.tolist()
    x = x + (brightness - 0.5)
    x = torch.stack([x[c] * (2 * saturation) + x.mean(0) * (1 - 2 * saturation) for c in range(channels)])
    x = (x - x.mean()) * (contrast + 0.5) + x.mean()
    out = torch.zeros_like(x)
    dy, dx = (int(size * 0.125 + 0.5) for size in (height, width))
    dy, dx = math.floor(down * (2 * dy + 1)) - dy, math.floor(right * (2 * dx + 1)) - dx
    for i in range(height):
        for j in range(width):
            if 0 <= i - dy < height and 0 <= j - dx < width:
                out[:, i, j] = x[:, i - dy, j - dx]
    h, w = int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)
    top = math.floor(row * (height + 1 - h % 2)) - h // 2
    left = math.floor(column * (width + 1 - w % 2)) - w // 2
    for i in range(top, top + h):
        for j in range(left, left + w):
            if 0 <= i < height and 0 <= j < width:
                out[:, i, j] = 0
    return out


@pytest.mark.parametrize("shape", [*SHAPES, (2, 7, 9)], ids=str)
def test_diff_augment_is_the_papers(shape):
    augment = DiffAugment()
    x, u = images(shape, 40), draws(augment, 40)
    expected = torch.stack([authors_diff_augment(image, numbers) for image, numbers in zip(x, u.double(), strict=True)])
    torch.testing.assert_close(augment(x, u), expected, rtol=0, atol=1e-12)


def test_parts_of_diff_augment():
    x, u = images((3, 16, 16)), draws(DiffAugment())
    colors, moved, cut = (DiffAugment(*(kept == part for kept in range(3)))(x, u) for part in range(3))
    assert (colors != x).all()
    assert {float(value) for value in moved.flatten()} <= {0.0, *x.flatten().tolist()}
    assert ((cut == x) | (cut == 0)).all()
    with pytest.raises(ValueError, match="color, translation and cutout are all false"):
        DiffAugment(False, False, False)


# ADA's pipeline


def test_the_filter_is_an_orthogonal_wavelets():
    taps = torch.tensor(SYM6, dtype=torch.float64)
    for shift in range(6):
        assert float((taps[: 12 - 2 * shift] * taps[2 * shift :]).sum()) == pytest.approx(float(shift == 0), abs=1e-11)
    signs, k = torch.tensor([1.0, -1.0] * 6, dtype=torch.float64), torch.arange(12, dtype=torch.float64)
    for moment in range(6):  # vanishing moments of the highpass filter
        assert float((signs * k**moment * taps).sum()) == pytest.approx(0, abs=1e-8)


def maps(matrix: Tensor, count: int = 4) -> Tensor:
    return matrix.double().expand(count, 3, 3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_shifts_are_exact(shape):
    x = images(shape)
    torch.testing.assert_close(resample(x, maps(torch.eye(3))), x, rtol=0, atol=1e-10)
    one = torch.ones(1)
    moved = resample(x, maps(translation(2 * one, one)))
    torch.testing.assert_close(moved[..., :-1, :-2], x[..., 1:, 2:], rtol=0, atol=1e-10)


def test_the_borders_reflect():
    x = images((3, 16, 16))
    moved = resample(x, maps(translation(torch.full((1,), 2.0), torch.zeros(1))))
    torch.testing.assert_close(moved[..., 14:], x[..., 14:].flip(-1), rtol=0, atol=1e-10)


def smooth(height: int, width: int) -> Tensor:
    y, x = torch.arange(height).double()[:, None], torch.arange(width).double()
    return ((y / 4).sin() * (x / 3).cos()).expand(4, 1, height, width)


def test_mirrors_turns_and_fractions_of_what_is_smooth():
    x, one = smooth(32, 32), torch.ones(1)
    inner = (..., slice(4, -4), slice(4, -4))

    def close(ours: Tensor, theirs: Tensor) -> None:
        torch.testing.assert_close(ours[inner], theirs[inner], rtol=0, atol=4e-3)

    close(resample(x, maps(scaling(-one, one))), x.flip(-1))
    close(resample(x, maps(rotation(one * math.pi / 2))), x.rot90(1, (-2, -1)))
    y, columns = torch.arange(32).double()[:, None], torch.arange(32).double()
    close(
        resample(x, maps(translation(one * 0.5, one * 0))), ((y / 4).sin() * ((columns + 0.5) / 3).cos()).expand_as(x)
    )
    zoomed = ((15.5 + (y - 15.5) / 2) / 4).sin() * ((15.5 + (columns - 15.5) / 2) / 3).cos()
    close(resample(x, maps(scaling(one / 2, one / 2))), zoomed.expand_as(x))


def test_quarter_turns_of_rectangles_turn_about_the_center():
    x = images((1, 8, 12))
    turned = resample(x, maps(rotation(torch.tensor([math.pi]))))
    y = torch.zeros(1, 1, 8, 12, dtype=torch.float64)
    y[..., 2, 3] = 1
    brightest = resample(y, maps(rotation(torch.tensor([math.pi])), 1)).flatten().argmax()
    assert divmod(int(brightest), 12) == (5, 8)
    assert turned.shape == x.shape


def test_blits_by_hand():
    # gates and values: mirror, quarter turn, shift down and right
    u = torch.tensor([[0.0, 0.9, 0.9, 0, 0.9, 0, 0], [0.9, 0, 0.0, 0.3, 0.9, 0, 0], [0.9, 0, 0.9, 0, 0.0, 0.0, 0.99]])
    mirror, turn, shift = blit_maps(u, torch.tensor(0.5), 16, 32)
    assert mirror.tolist() == [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert turn.tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert shift.tolist() == [[1, 0, -4], [0, 1, 2], [0, 0, 1]]


def test_geometry_by_hand():
    off = [0.9, 0.5]
    u = torch.tensor(
        [
            [0.0, 0.8413447, *off, *off, *off, 0.9, 0.5, 0.5],  # one standard deviation larger
            [*off, 0.0, 0.75, *off, *off, 0.9, 0.5, 0.5],  # a quarter turn
            [*off, *off, 0.0, 0.8413447, *off, 0.9, 0.5, 0.5],  # wider
            [*off, *off, *off, *off, 0.0, 0.5, 0.8413447],  # to the right
        ]
    )
    larger, turned, wider, moved = geometry_maps(u, torch.tensor(0.8), 16, 32)
    torch.testing.assert_close(larger.diag(), torch.tensor([2**-0.2, 2**-0.2, 1]))
    torch.testing.assert_close(turned[:2, :2], torch.tensor([[0.0, -1], [1, 0]]))
    torch.testing.assert_close(wider.diag(), torch.tensor([2**-0.2, 2**0.2, 1]))
    torch.testing.assert_close(moved[:2, 2], torch.tensor([-4.0, 0]))


def test_either_rotation_happens_with_probability_p():
    u = torch.rand(20_000, 11, generator=torch.Generator().manual_seed(0))
    u[:, [0, 4, 8]] = 0.999  # nothing but rotations
    turned = (geometry_maps(u, torch.tensor(0.4), 16, 16) - torch.eye(3)).abs().amax((1, 2)) > 0
    assert float(turned.double().mean()) == pytest.approx(0.4, abs=0.012)


def test_colors_by_hand():
    rgb, gray = torch.tensor([0.9, 0.3, 0.0]), torch.full((3,), 0.4)

    def changed(*change: object) -> Tensor:
        colors = Colors(1, 3, rgb)
        method, *arguments = change
        getattr(colors, str(method))(torch.tensor([float(each) for each in arguments]))
        return colors(rgb.view(1, 3, 1, 1)).flatten()

    torch.testing.assert_close(changed("brighten", 0.1), rgb + 0.1)
    torch.testing.assert_close(changed("scale", 2), 2 * rgb)
    torch.testing.assert_close(changed("flip_luma", 1), rgb - 2 * gray)
    torch.testing.assert_close(changed("flip_luma", 0), rgb)
    torch.testing.assert_close(changed("rotate_hue", 2 * math.pi / 3), rgb.roll(1))
    torch.testing.assert_close(changed("saturate", 0), gray)
    torch.testing.assert_close(changed("saturate", 3), gray + 3 * (rgb - gray))


def test_colors_compose_in_order():
    colors = Colors(1, 1, torch.zeros(()))
    for change, value in (("brighten", 0.5), ("scale", 2.0), ("flip_luma", 1.0)):
        getattr(colors, change)(torch.tensor([value]))
    assert colors(torch.tensor([0.25]).view(1, 1, 1, 1)).item() == -1.5


def test_gray_images_have_no_hue_and_no_saturation():
    u = torch.tensor([[0.9, 0.5, 0.9, 0.5, 0.9, 0.5, 0.0, 0.7, 0.0, 0.9]], dtype=torch.float64)
    x = images((1, 8, 8), 1)
    torch.testing.assert_close(change_colors(x, u, torch.tensor(0.5)), x)


def test_cutout_of_the_pipeline():
    x = torch.ones(2, 1, 8, 8)
    cut = cut_out(x, torch.tensor([[0.0, 0.5, 0.0], [0.9, 0.5, 0.5]]), torch.tensor(0.5))
    assert (cut[0, 0, 2:6, :2] == 0).all()
    assert cut[0].sum() == 64 - 8
    assert (cut[1] == 1).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_happens_with_probability_0(shape):
    x = images(shape)
    for augment in ADA(cutout=1.0), Pipe(0.0, cutout=1.0), Pipe(1.0, 0.0, 0.0, 0.0):
        torch.testing.assert_close(augment(x, draws(augment)), x, rtol=0, atol=1e-10)


# The probability


def test_p_rises_and_falls_by_the_papers_rule():
    augment = ADA(target=0.6, images_to_one=1000, every=4)
    signs = torch.tensor([1.0, 0.5, 0.5, 0.5])  # mean 0.625
    for update, sign in enumerate(signs):
        augment.observe(sign, 8, update)
        assert float(augment.p) == (pytest.approx(32 / 1000) if update == 3 else 0)
    for update in range(4, 8):
        augment.observe(torch.tensor(0.5), 8, update)
    assert float(augment.p) == 0
    for update in range(8, 12):
        augment.observe(torch.tensor(-1.0), 8, update)
    assert float(augment.p) == 0, "never negative"
    for update in range(12, 12 + 4 * 40):
        augment.observe(torch.tensor(1.0), 8, update)
    assert float(augment.p) == pytest.approx(1.28), "the paper sets no upper limit"


def test_p_is_exact_in_any_precision_and_goes_on_from_its_state():
    one, other = ADA(images_to_one=500_000).bfloat16(), ADA(images_to_one=500_000)
    for update in range(402):
        one.observe(torch.tensor(1.0), 64, update)
    assert float(one.p) == pytest.approx(400 * 64 / 500_000)
    other.load_state_dict(one.state_dict())
    for update in range(402, 404):
        one.observe(torch.tensor(0.9), 64, update)
        other.observe(torch.tensor(0.9), 64, update)
    assert torch.equal(one.p, other.p)
    assert float(one.p) == pytest.approx(404 * 64 / 500_000)


def test_p_follows_a_schedule():
    augment = Pipe(Cosine(0.0, 0.6, 1000))
    for seen, p in ((0, 0), (500, 0.3), (1000, 0.6), (5000, 0.6)):
        augment.begin(seen)
        assert float(augment.p) == pytest.approx(p)
    assert not augment.state_dict()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pipe(1.5), "Pipe: p must be between 0 and 1, got 1.5"),
        (lambda: Pipe(Cosine(0, 2, 10)), "Pipe: p must be between 0 and 1, got 0 to 2"),
        (lambda: ADA(color=-1), "ADA: color must be between 0 and 1, got -1"),
        (lambda: ADA(target=1.0), "ADA: target is a mean of signs, so between -1 and 1, got 1.0"),
        (lambda: ADA(every=0), "ADA: every must be at least 1, got 0"),
        (lambda: Cosine(0, 1, 0), "Cosine: images must be positive, got 0"),
    ],
)
def test_what_is_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Pixels and numbers


def test_pixels_are_taken_by_rows_and_columns():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    rows, columns = shifted(3, torch.tensor([1])), shifted(4, torch.tensor([-2]))
    assert rows.tolist() == [[-1, 0, 1]]
    taken = take(x, mirrored_back(rows, 3), mirrored_back(columns, 4))
    assert taken[0, 0].tolist() == [[6, 7, 6, 5], [2, 3, 2, 1], [6, 7, 6, 5]]


def test_normal_numbers_from_uniform_ones():
    u = torch.tensor([0.5, 0.8413447, 0.0, 1 - 2**-24])
    normals = as_normal(u)
    assert normals[:2].tolist() == pytest.approx([0, 1], abs=1e-5)
    assert normals.isfinite().all()
