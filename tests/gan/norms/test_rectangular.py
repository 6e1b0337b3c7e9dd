"""Images that are not square, in every network, with every norm, through training, checkpoints and scores."""

import numpy as np
import pytest
import torch
from fakes import Corners, Noise
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_trainings import ARCHITECTURES, fit, small_networks
from test_norms import COMBINATIONS, name

import gan
from gan.callbacks import Checkpoint, Evaluation, OperatorNorms, SampleGrid
from gan.data.decode import Frame
from gan.data.sources import ArraySource
from gan.losses import Hinge
from gan.metrics import Frechet
from gan.module import GAN
from gan.networks.pyramid import BASES, pyramid
from gan.norms import Batch, Conv, Spectral
from gan.runs.logger import RunLogger

SIZES = [(32, 48), (56, 32), (24, 40)]


class Wide(Noise):
    """Random gray images of 32x48."""

    def __init__(self) -> None:
        super().__init__()
        self.frame, self.image_size = Frame((32, 48), 1), (32, 48)

    def open(self, split):
        pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 48), np.uint8)
        return ArraySource(pixels, torch.zeros(20, dtype=torch.int64), self.frame)


@given(st.sampled_from(BASES), st.sampled_from(BASES), st.integers(1, 8))
def test_bases_of_3_to_7_times_a_power_of_two(high, wide, power):
    found = pyramid((high << power, wide << power))
    assert (found.bottom[0] << found.doublings, found.bottom[1] << found.doublings) == (high << power, wide << power)
    assert set(found.bottom) <= set(BASES)


@given(st.integers(1, 600), st.integers(1, 600))
def test_what_an_error_names_works(height, width):
    try:
        pyramid((height, width))
    except ValueError as error:
        nearest = str(error).split("are ")[1].split(" or ")
        assert len(nearest) == 2
        for size in nearest:
            pyramid([int(side) for side in size.strip("[]").split(",")] if "[" in size else int(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norms", COMBINATIONS, ids=name)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_with_every_norm(architecture, norms, size):
    networks = small_networks(architecture, size, classes=3)
    module = GAN(*networks, Hinge(), generator_norms=norms, discriminator_norms=norms)
    images = module.generator(torch.randn(2, 8), torch.tensor([0, 2]))
    assert images.shape == (2, 1, *size)
    logits = module.discriminator(images, torch.tensor([0, 2]))
    assert logits.shape == (2,)
    logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.filterwarnings("ignore:operator_norm stopped")
@pytest.mark.parametrize("architecture", ["dcgan", "r3gan"])
def test_a_run_its_grids_scores_and_checkpoint(tmp_path, architecture):
    module = GAN(*small_networks(architecture, (32, 48), classes=0), Hinge(), [Batch()], [Conv(), Spectral()])
    callbacks = [
        SampleGrid(rows=2, columns=3),
        OperatorNorms(every_n_steps=2),
        Evaluation(Corners(), [Frechet()], num_samples=8, every_n_steps=2, batch_size=4),
        Checkpoint(),
    ]
    fit(module, 2, callbacks, data=Wide(), logger=RunLogger(str(tmp_path), "x"))
    run = tmp_path / "x/version_0"
    for picture in "step_00000002.png", "real.png":
        assert Image.open(run / "samples" / picture).size == (3 * 50 + 2, 2 * 34 + 2)
    assert "noise/train 32x48x1" in (run / "metrics.jsonl").read_text()
    loaded = gan.load(run)
    assert loaded.generator.image_size == (32, 48)
    assert torch.equal(loaded.sample(3), module.eval().sample(3))


def test_a_square_is_one_number_however_it_is_given():
    for size in (32, (32, 32), [32, 32]):
        generator, discriminator = small_networks("dcgan", size)
        assert generator.image_size == discriminator.image_size == 32


@pytest.mark.parametrize(
    ("fit_by", "black_rows", "width"),
    [("crop", [False] * 4, 2), ("pad", [True, False, False, True], 4), ("squeeze", [False] * 4, 4)],
)
def test_other_shapes_are_cropped_padded_or_squeezed(fit_by, black_rows, width):
    steps = np.repeat(np.arange(50, 90, 10, dtype=np.uint8), 2)[None].repeat(4, 0)  # 4x8: 50 50 60 60 70 70 80 80
    fitted = Frame((4, 4), 1, fit_by=fit_by).fit(Image.fromarray(steps))[0]
    assert (fitted == 0).all(1).tolist() == black_rows
    assert len(fitted[1].unique()) == width


def test_the_largest_part_of_the_wanted_shape_is_cropped():
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10))
    assert torch.equal(Frame((6, 9), 1).fit(image)[0], torch.arange(60).reshape(6, 10)[:, :9].byte())
    assert torch.equal(Frame((3, 10), 1).fit(image)[0], torch.arange(60).reshape(6, 10)[1:4].byte())
