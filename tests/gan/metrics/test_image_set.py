import pytest
import torch

from gan.metrics import process
from gan.metrics.image_set import sampled, stored

IMAGES = torch.arange(23, dtype=torch.uint8).view(-1, 1, 1, 1)


def run_as(monkeypatch, rank, world_size):
    monkeypatch.setattr(process, "process_group", lambda: (rank, world_size))


def flatten(image_set):
    return {start: block.flatten().tolist() for start, block in image_set.blocks()}


@pytest.mark.parametrize("batches_of", [1, 4, 5, 6, 23, 100])
def test_stored_images_come_in_blocks_of_the_size_asked_for(batches_of):
    blocks = flatten(stored(lambda: IMAGES.split(batches_of), total=23, batch_size=5))
    assert blocks == {start: list(range(start, min(start + 5, 23))) for start in (0, 5, 10, 15, 20)}


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [1, 5, 20, 23])
def test_processes_share_the_very_blocks_that_one_process_has(monkeypatch, total, world_size):
    def sets():
        yield sampled(lambda n, start: IMAGES[start : start + n], total, batch_size=5)
        yield stored(lambda: IMAGES[:total].split(4), total, batch_size=5)

    whole = [flatten(image_set) for image_set in sets()]
    shares = [{}, {}]
    for rank in range(world_size):
        run_as(monkeypatch, rank, world_size)
        for share, image_set in zip(shares, sets(), strict=True):
            blocks = flatten(image_set)
            assert not blocks.keys() & share.keys()
            share |= blocks
    assert shares == whole
