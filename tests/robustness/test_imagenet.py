"""ImageNet's layout, in small: what training and tests see, and that a run goes on as if never interrupted."""

import json
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from small_trainings import differences, fit
from test_classifier import Tiny
from torchvision import transforms

from gan.callbacks import AtomicCheckpointIO, Checkpoint
from gan.data.loaders import StreamLoader
from gan.data.order import Order
from gan.runs.checkpoints import read_checkpoint
from gan.runs.logger import RunLogger
from robustness.classifier import Classifier
from robustness.cli.main import main
from robustness.crops import ResizedCrop
from robustness.imagenet import ImageNet

CLASSES = "n01440764", "n01443537", "n01484850"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photographs of colored noise, in several sizes."""
    root, rng = tmp_path_factory.mktemp("data") / "imagenet", np.random.default_rng(0)
    for split, count in ("train", 6), ("val", 2):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
                coarse.resize((60 + 9 * number, 48)).save(root / split / name / f"{name}_{number}.JPEG")
    return root


def test_tests_see_the_centre_as_torchvision_cuts_it(root):
    data = ImageNet(str(root), image_size=28)
    usual = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28), transforms.PILToTensor()])
    paths = sorted((root / "val").rglob("*.JPEG"))
    expected = torch.stack([usual(Image.open(path)) for path in paths])
    assert torch.equal(data.images_at("val", range(6)), expected)
    assert (data.classes, data.labels("val").tolist()) == (CLASSES, [0, 0, 1, 1, 2, 2])


def batches(root, steps=3, start=0, workers=0, **order):
    source = ImageNet(str(root), image_size=16).open("train")
    settings = {"num_images": 18, "batch_size": 8, "batches_per_step": 1, "seed": 3, "flip": True, **order}
    loader = StreamLoader(source, Order(**settings), lambda: start, workers)
    return [images for images, _ in islice(loader, steps)]


def test_training_sees_a_part_that_depends_on_the_position_alone(root):
    before = torch.get_rng_state()
    whole = batches(root, 4)
    assert all(map(torch.equal, batches(root, 4, workers=2), whole))
    assert all(map(torch.equal, batches(root, 2, start=2), whole[2:])), "resumed"
    halves = zip(*(batches(root, 4, rank=rank, world_size=2) for rank in range(2)), strict=True)
    assert all(map(torch.equal, map(torch.cat, halves), whole)), "two processes"
    assert not any(map(torch.equal, batches(root, 4, seed=4), whole))
    assert torch.equal(torch.get_rng_state(), before)


def test_parts_have_the_usual_sizes_and_shapes():
    """The colors of this picture are its coordinates."""
    rows, columns = np.mgrid[0:200, 0:200].astype(np.uint8)
    picture = Image.fromarray(np.stack([rows, columns, 0 * rows], 2))
    frame = ResizedCrop(32, 3)
    parts = torch.stack([frame.at(0, position).fit(picture) for position in range(300)])[:, :2].double()
    heights = parts[:, 0, -1].mean(1) - parts[:, 0, 0].mean(1)
    widths = parts[:, 1, :, -1].mean(1) - parts[:, 1, :, 0].mean(1)
    areas = heights * widths / 200**2 * (32 / 31) ** 2  # between the centres of the outermost pixels
    assert 0.06 < areas.min() < 0.12
    assert 0.85 < areas.max() < 1.02
    assert areas.mean() == pytest.approx(0.5, abs=0.04), "not every large part fits with every shape"
    ratios = widths / heights
    assert 0.72 < ratios.min() < 0.78
    assert 1.28 < ratios.max() < 1.38


def test_a_resumed_training_equals_an_unbroken_one(root, tmp_path):
    def train(name, steps, start=None):
        torch.manual_seed(steps)
        data = ImageNet(str(root), image_size=16, batch_size=4, num_workers=0)
        settings = {"plugins": [AtomicCheckpointIO("classifier")], "logger": RunLogger(str(tmp_path), name)}
        fit(Classifier(seeded_tiny()), steps, [Checkpoint(2)], data=data, ckpt_path=start, **settings)
        return tmp_path / name / "version_0" / "checkpoints"

    whole = train("whole", 4)
    resumed = train("resumed", 4, whole / "step_00000002.ckpt")
    a, b = (read_checkpoint(folder / "step_00000004.ckpt", "classifier") for folder in (whole, resumed))
    assert differences(a["state_dict"], b["state_dict"]) == 0
    assert a["classifier"]["classes"] == list(CLASSES)


def seeded_tiny():
    torch.manual_seed(0)
    return Tiny(channels=3)


@pytest.mark.slow
def test_a_network_of_torchvision_trains_and_is_tested(root, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["robustness"])
    arguments = [
        *("--config=robustness/imagenet", f"--data.root={root}", "--data.image_size=32", "--data.batch_size=4"),
        *("--data.num_workers=1", "--trainer.max_steps=2", f"--trainer.default_root_dir={tmp_path}"),
        *("--trainer.accelerator=cpu", "--model.norms=[Conv]", "--model.validation=0.2"),
        *("--evaluation.corruptions=[robustness.corruptions.Brightness]", "--evaluation.num_corrupted=3"),
        *("--evaluation.attacks=[FGSM]", "--evaluation.num_attacked=3", "--evaluation.every_n_steps=1"),
        "--evaluation.operator_norms=false",
    ]
    main(["fit", *arguments])
    run = tmp_path / "imagenet_classifier" / "version_0"
    table = json.loads((run / "robustness.json").read_text())
    assert table["protocol"]["split"] == "imagenet/val"
    assert table["protocol"]["classes"] == "3 (n01440764, n01443537, n01484850)"
    assert [row["images"] for row in table["rows"]] == [6, 3, 3, 3, 3, 3, 3]
