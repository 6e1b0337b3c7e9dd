import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encode, noise, write_folder

from gan.data import Digits, Folder
from gan.data.subset import Subset

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


@pytest.mark.parametrize(("subset", "counts"), [({"num_images": 10}, [6, 3, 1]), ({"fraction": 0.5}, [30, 15, 5])])
def test_each_class_gives_the_same_share(subset, counts):
    chosen = Subset(**subset).choose(LABELS)
    assert torch.bincount(LABELS[chosen]).tolist() == counts
    assert torch.equal(chosen, chosen.unique())


def test_what_does_not_divide_goes_to_the_largest_remainders():
    # Exact shares of 7 images: 4.2, 2.1, 0.7
    assert torch.bincount(LABELS[Subset(7).choose(LABELS)]).tolist() == [4, 2, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_any_number_of_images_of_any_classes(labels, data):
    labels = torch.tensor(labels)
    wanted = data.draw(st.integers(1, len(labels)))
    chosen = Subset(wanted).choose(labels)
    assert len(chosen) == wanted == len(chosen.unique())
    for label in labels.unique():
        share = int((labels == label).sum()) * wanted / len(labels)
        assert abs(int((labels[chosen] == label).sum()) - share) < 1


def test_the_seed_decides():
    chosen = [Subset(50, seed=seed).choose(LABELS) for seed in (0, 0, 1)]
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_a_larger_subset_holds_a_smaller_one():
    small, large = (Subset(number).choose(LABELS) for number in (20, 50))
    assert set(small.tolist()) < set(large.tolist())


@pytest.mark.parametrize(
    ("subset", "line"),
    [
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        ({"fraction": 0.0}, "fraction must be above 0 and at most 1, got 0.0"),
        ({"fraction": 1.5}, "fraction must be above 0 and at most 1, got 1.5"),
        ({"num_images": 5, "fraction": 0.5}, "exclude each other: give one"),
        ({"subset_seed": -1}, "subset_seed must be between 0"),
    ],
)
def test_arguments_are_checked(subset, line):
    with pytest.raises(ValueError, match=line):
        Digits(**subset)


def test_more_than_there_are():
    with pytest.raises(ValueError, match="num_images must be at most 1797, the number of training images, got 1798"):
        Digits(num_images=1798).num_images("train")


def test_a_folder_s_training_images_alone(tmp_path):
    files = {f"{split}/{i}.png": encode(noise(4, 4, seed=i)) for split in ("train", "test") for i in range(8)}
    data = Folder(write_folder(tmp_path, files), 4, 1, fraction=0.25)
    assert (data.num_images("train"), data.num_images("test")) == (2, 8)
    hashes = {
        Folder(str(tmp_path), 4, 1, **part).content_hash("train") for part in ({}, {"num_images": 2}, {"num_images": 3})
    }
    assert len(hashes) == 3
    assert data.content_hash("train") in hashes
    assert Digits(num_images=100).images_at("train", range(100)).shape == (100, 1, 32, 32)


@pytest.mark.parametrize("memory", [True, False])
def test_all_training_images_can_be_compared_with(memory, monkeypatch):
    if not memory:
        monkeypatch.setattr("gan.data.image_data.MAX_DECODED_BYTES", 0)
    part, whole = Digits(num_images=100), Digits()
    assert (part.num_images("train"), part.num_images("full_train")) == (100, 1797)
    assert part.content_hash("full_train") == whole.content_hash("train") != part.content_hash("train")
    assert torch.equal(torch.cat([*part.reference("full_train")]), torch.cat([*whole.reference("train")]))
    assert whole.source("full_train") is whole.source("train"), "nothing is decoded twice"
