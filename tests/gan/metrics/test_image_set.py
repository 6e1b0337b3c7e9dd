import numpy as np
import pytest
import torch
from PIL import Image

from gan import distributed
from gan.data import MNIST
from gan.metrics.image_set import images_of, joined, sampled, split_of, stored

IMAGES = torch.arange(23, dtype=torch.uint8).view(-1, 1, 1, 1)


def run_as(monkeypatch, rank, world_size):
    monkeypatch.setattr(distributed, "process_group", lambda: (rank, world_size))


def flatten(image_set):
    return {start: block.flatten().tolist() for start, block in image_set.blocks()}


def read(blocks):
    return (IMAGES[start : start + n] for start, n in blocks)


def test_stored_images_come_in_blocks_of_the_size_asked_for():
    blocks = flatten(stored(read, total=23, batch_size=5))
    assert blocks == {start: list(range(start, min(start + 5, 23))) for start in (0, 5, 10, 15, 20)}


def test_joined_sets_are_numbered_on():
    first, second = stored(read, total=7, batch_size=5), stored(read, total=3, batch_size=5)
    both = joined([first, second])
    assert both.total == 10
    assert flatten(both) == {0: [0, 1, 2, 3, 4], 5: [5, 6], 7: [0, 1, 2]}


def test_a_process_reads_its_own_blocks_only(monkeypatch):
    run_as(monkeypatch, rank=1, world_size=3)
    asked = []
    list(stored(lambda blocks: [asked.append(block) for block in blocks], 23, batch_size=5).blocks())
    assert asked == [(5, 5), (20, 3)]


def test_foreign_images_are_made_to_fit_as_the_own_are(tmp_path):
    """MNIST's 28 pixels get margins."""
    for number in range(10):
        folder = tmp_path / "train" / str(number)
        folder.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (28, 28), np.uint8)).save(folder / "0.png")
    data = MNIST(str(tmp_path))
    own, foreign = (dict(images.blocks()) for images in (split_of(data, "train", 4), images_of(str(tmp_path), data, 4)))
    assert own[0][:, :, :2].count_nonzero() == 0
    assert all(torch.equal(own[start], foreign[start]) for start in own)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [1, 5, 20, 23])
def test_processes_share_the_very_blocks_that_one_process_has(monkeypatch, total, world_size):
    def sets():
        yield sampled(lambda n, start: IMAGES[start : start + n], total, batch_size=5)
        yield stored(read, total, batch_size=5)
        yield joined([stored(read, total, batch_size=5), stored(read, 3, batch_size=5)])

    whole = [flatten(image_set) for image_set in sets()]
    shares = [{}, {}, {}]
    for rank in range(world_size):
        run_as(monkeypatch, rank, world_size)
        for share, image_set in zip(shares, sets(), strict=True):
            blocks = flatten(image_set)
            assert not blocks.keys() & share.keys()
            share |= blocks
    assert shares == whole
