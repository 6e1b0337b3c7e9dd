import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gan import distributed
from gan.data import MNIST
from gan.metrics.image_set import ImageSet, image_set, open_folder, open_images, size_of

IMAGES = torch.arange(23, dtype=torch.uint8).view(-1, 1, 1, 1)


def run_as(monkeypatch, rank, world_size):
    monkeypatch.setattr(distributed, "process_group", lambda: (rank, world_size))


def flatten(images):
    return {start: batch.flatten().tolist() for start, batch in images.batches()}


def numbered(total, batch_size=5):
    return ImageSet(total, batch_size, lambda batches: (IMAGES[start : start + n] for start, n in batches))


def write_images(folder, count, size=(8, 8), seed=0, mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).convert(mode).save(folder / f"{number:03}.png")
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def all_of(source, batch_size=4):
    return torch.cat([batch for _, batch in image_set(source, batch_size).batches()])


def test_images_come_in_batches_of_the_size_asked_for():
    expected = {start: list(range(start, min(start + 5, 23))) for start in (0, 5, 10, 15, 20)}
    assert flatten(numbered(23)) == expected


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [1, 5, 20, 23])
def test_processes_share_the_very_batches_that_one_process_has(monkeypatch, total, world_size):
    whole, shares = flatten(numbered(total)), {}
    for rank in range(world_size):
        run_as(monkeypatch, rank, world_size)
        share = flatten(numbered(total))
        assert not share.keys() & shares.keys()
        shares |= share
    assert shares == whole


def test_a_process_reads_its_own_batches_only(monkeypatch):
    run_as(monkeypatch, rank=1, world_size=3)
    asked = []
    list(ImageSet(23, 5, lambda batches: [asked.append(batch) for batch in batches]).batches())
    assert asked == [(5, 5), (20, 3)]


def test_all_images_of_a_folder_and_of_its_zip_in_their_order(tmp_path):
    """Whatever the subfolders are called, here splits of a data set with files beside them."""
    folders = tmp_path / "x", tmp_path / "x" / "test", tmp_path / "x" / "train"
    expected = torch.cat([write_images(folder, 2 + seed, seed=seed) for seed, folder in enumerate(folders)])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted((tmp_path / "x").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "x"))
    for root in tmp_path / "x", str(tmp_path / "x.zip"):
        assert torch.equal(all_of(open_images(root)), expected)


@pytest.mark.parametrize(("width", "height"), [(100, 100), (299, 299), (9, 7)])
def test_images_keep_their_size(tmp_path, width, height):
    expected = write_images(tmp_path / "x", 2, (width, height))
    assert torch.equal(all_of(open_images(tmp_path / "x")), expected)
    assert size_of(open_images(tmp_path / "x")) == (3, height, width)


def test_images_are_made_to_fit_a_size(tmp_path):
    write_images(tmp_path / "x", 2, (12, 8))
    write_images(tmp_path / "x" / "more", 2, (30, 20))
    assert all_of(open_images(tmp_path / "x", size=6)).shape == (4, 3, 6, 6)
    assert all_of(open_images(tmp_path / "x", size=6, channels=1)).shape == (4, 1, 6, 6)


def test_a_tensor_is_taken_as_it_is_or_made_to_fit():
    images = torch.randint(0, 256, (5, 3, 6, 9), dtype=torch.uint8)
    assert torch.equal(all_of(open_images(images)), images)
    assert all_of(open_images(images, size=4)).shape == (5, 3, 4, 4)
    gray = open_images(images, channels=1)
    expected = [np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) for image in images]
    assert np.array_equal(all_of(gray)[:, 0].numpy(), expected)


def test_a_source_stays_as_it_is():
    source = open_images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))
    assert open_images(source, size=7, channels=3) is source


def test_other_images_are_made_to_fit_as_the_data_s_are(tmp_path):
    """MNIST's 28 pixels get margins."""
    for number in range(10):
        write_images(tmp_path / "train" / str(number), 1, (28, 28), number, "L")
    data = MNIST(str(tmp_path))
    own = torch.cat(list(data.reference("train")))
    assert own[:, :, :2].count_nonzero() == 0
    assert torch.equal(all_of(open_folder(tmp_path, data.frame)), own)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 4, 4), r"must be uint8 \(N, 1 or 3, H, W\), got float32 \(2, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"got uint8 \(3, 4, 4\)"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), r"got uint8 \(0, 3, 4, 4\)"),
        (torch.zeros(2, 4, 4, 4, dtype=torch.uint8), r"got uint8 \(2, 4, 4, 4\)"),
    ],
)
def test_tensors_of_something_else_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        open_images(images)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root '.*none' does not exist; a folder or a zip of images is needed"):
        open_images(tmp_path / "none")
    write_images(tmp_path / "x", 2, (8, 8))
    write_images(tmp_path / "x" / "y", 1, (9, 9))
    with pytest.raises(ValueError, match=r"'y/000.png' in .* has 9x9 pixels, the first image 8x8: choose a size"):
        all_of(open_images(tmp_path / "x"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"'a\.png' in .* is no image"):
        open_images(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"channels must be 1 .* or 3 .*, got 2"):
        open_images(tmp_path / "x", channels=2)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        open_images(tmp_path / "x", size=0)


def test_scores_and_conversion_need_no_lightning():
    unwanted = {"pytorch_lightning", "lightning_fabric", "torchmetrics", "gan.module", "gan.networks", "gan.callbacks"}
    code = "import sys, gan.metrics, gan.cli.score, gan.data.check, gan.data.convert; "
    code += f"print({unwanted} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
