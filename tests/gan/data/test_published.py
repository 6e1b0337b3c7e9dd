"""Each set from small files in torchvision's own on-disk format, and from images."""

import pickle
import struct
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from image_files import encode, noise, write_folder, write_zip
from pytorch_lightning.trainer.states import TrainerFn

from gan.data import CIFAR10, CIFAR100, MNIST, STL10, CelebA, FashionMNIST

SETS = [CIFAR10, CIFAR100, MNIST, FashionMNIST, STL10, CelebA]


@pytest.fixture(autouse=True)
def any_checksum(monkeypatch):
    """The small files don't have the checksums of the real ones."""
    there = lambda path, md5=None: Path(path).is_file()  # noqa: E731
    for module in ("cifar", "celeba", "mnist"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", there)
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: Path(self.root).is_dir())


def write_cifar(root, folder, batches, meta, label_key, names_key):
    pixels = {}
    for seed, name in enumerate(batches):
        pixels[name] = noise(3, 3, 32, 32, seed=seed)
        entry = {"data": pixels[name].reshape(3, -1), label_key: [seed, seed + 1, seed + 2]}
        write_folder(root / folder, {name: pickle.dumps(entry)})
    write_folder(root / folder, {meta: pickle.dumps({names_key: ["a", "b"]})})
    return pixels


def write_idx(root, name, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    write_folder(root, {name: header + array.tobytes()})


def write_mnist(root, name):
    raw, images = root / name / "raw", {"train": noise(5, 28, 28), "test": noise(2, 28, 28, seed=1)}
    for split, prefix in ("train", "train"), ("test", "t10k"):
        write_idx(raw, f"{prefix}-images-idx3-ubyte", images[split])
        write_idx(raw, f"{prefix}-labels-idx1-ubyte", np.arange(len(images[split]), dtype=np.uint8))
    return images


def read(data, split):
    return torch.cat(list(data.reference(split))).numpy()


def test_cifar10(tmp_path):
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    pixels = write_cifar(
        tmp_path, "cifar-10-batches-py", [*batches, "test_batch"], "batches.meta", "labels", "label_names"
    )
    data = CIFAR10(str(tmp_path))
    assert np.array_equal(read(data, "train"), np.concatenate([pixels[name] for name in batches]))
    assert np.array_equal(read(data, "test"), pixels["test_batch"])
    assert data.source("train").labels.tolist() == [i + j for i in range(5) for j in range(3)]


def test_cifar100(tmp_path):
    pixels = write_cifar(tmp_path, "cifar-100-python", ["train", "test"], "meta", "fine_labels", "fine_label_names")
    data = CIFAR100(str(tmp_path))
    assert np.array_equal(read(data, "train"), pixels["train"])
    assert np.array_equal(read(data, "test"), pixels["test"])
    assert data.source("test").labels.tolist() == [1, 2, 3]


@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_mnist_lies_in_a_black_margin(tmp_path, dataset):
    images = write_mnist(tmp_path, dataset.__name__)
    data = dataset(str(tmp_path))
    for split in "train", "test":
        padded = np.pad(images[split], ((0, 0), (2, 2), (2, 2)))[:, None]
        assert np.array_equal(read(data, split), padded)
    assert data.source("train").labels.tolist() == [0, 1, 2, 3, 4]


def test_mnist_at_its_own_size_has_no_margin(tmp_path):
    images = write_mnist(tmp_path, "MNIST")
    assert np.array_equal(read(MNIST(str(tmp_path), image_size=28), "test"), images["test"][:, None])


def test_mnist_is_the_same_from_images(tmp_path):
    images = write_mnist(tmp_path / "raw", "MNIST")["train"]
    classes = {f"train/{i % 10}/{i:02}.png": encode(image) for i, image in enumerate([*images, *images])}
    ours = read(MNIST(write_zip(tmp_path / "mnist.zip", classes)), "train")
    assert np.array_equal(ours[:5], read(MNIST(str(tmp_path / "raw")), "train"))


def test_stl10_trains_on_the_unlabeled_images_or_on_those_with_labels(tmp_path):
    files = {
        f"{name}_X.bin": noise(2, 3, 96, 96, seed=seed) for seed, name in enumerate(("unlabeled", "test", "train"))
    }
    labels = {f"{name}_y.bin": bytes([1, 2]) for name in ("test", "train")}
    write_folder(tmp_path / "stl10_binary", {name: array.tobytes() for name, array in files.items()} | labels)
    data = STL10(str(tmp_path), image_size=96)
    columns_first = files["unlabeled_X.bin"].transpose(0, 1, 3, 2)  # as the files have it
    assert np.array_equal(read(data, "train"), columns_first)
    assert np.array_equal(read(data, "test"), files["test_X.bin"].transpose(0, 1, 3, 2))
    assert not data.source("train").labels.any()
    assert read(STL10(str(tmp_path)), "train").shape == (2, 3, 48, 48)
    labeled = STL10(str(tmp_path), image_size=96, labeled=True)
    assert np.array_equal(read(labeled, "train"), files["train_X.bin"].transpose(0, 1, 3, 2))
    assert labeled.labels("train").tolist() == labeled.labels("test").tolist() == [0, 1], "torchvision counts from 0"
    assert [labeled.classes[label] for label in labeled.labels("test")] == ["airplane", "bird"]
    assert np.array_equal(read(labeled, "test"), read(data, "test"))


def write_celeba(root):
    faces = {f"{i}.jpg": encode(noise(218, 178, 3, seed=i), "PNG") for i in range(5)}  # lossless, to compare
    write_folder(root / "celeba/img_align_celeba", faces)
    rows = {"list_eval_partition.txt": "00122", "identity_CelebA.txt": "77777", "list_bbox_celeba.txt": "88888"}
    rows |= {"list_landmarks_align_celeba.txt": "99999", "list_attr_celeba.txt": "11111"}
    for name, values in rows.items():
        head = "" if name in ("list_eval_partition.txt", "identity_CelebA.txt") else "3\na\n"
        lines = [f"{i}.jpg {value}" for i, value in enumerate(values)]
        write_folder(root / "celeba", {name: (head + "\n".join(lines) + "\n").encode()})


def test_celeba_is_cropped_to_its_middle(tmp_path):
    write_celeba(tmp_path)
    data = CelebA(str(tmp_path), image_size=178)
    expected = np.stack([noise(218, 178, 3, seed=i)[20:198].transpose(2, 0, 1) for i in (0, 1)])
    assert np.array_equal(read(data, "train"), expected)
    assert data.num_images("test") == 2


def test_celeba_misses_no_image_silently(tmp_path):
    write_celeba(tmp_path)
    (tmp_path / "celeba/img_align_celeba/1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images are missing from '.*', as '1.jpg'"):
        CelebA(str(tmp_path)).num_images("train")


@pytest.mark.parametrize("write", [write_zip, write_folder])
def test_images_may_take_the_place_of_the_files(tmp_path, write):
    images = {
        f"{split}/{c}/{i}.png": noise(32, 32, 3, seed=i)
        for split in ("train", "test")
        for c in range(10)
        for i in (1, 2)
    }
    data = CIFAR10(write(tmp_path / "cifar10.zip", {name: encode(image) for name, image in images.items()}))
    data.prepare_data()  # nothing to download
    assert data.splits == ("train", "test")
    assert np.array_equal(
        read(data, "test"), [noise(32, 32, 3, seed=i).transpose(2, 0, 1) for _ in range(10) for i in (1, 2)]
    )
    assert data.source("test").labels.tolist() == [c for c in range(10) for _ in (1, 2)]


def test_images_of_other_classes_are_refused(tmp_path):
    root = write_zip(tmp_path / "set.zip", {"train/cat/1.png": b"", "train/dog/1.png": b""})
    with pytest.raises(
        ValueError, match=r"root '.*' holds 2 classes, CIFAR10 has 10; gan.data.Folder reads any images"
    ):
        CIFAR10(root)


def test_a_missing_zip_is_not_downloaded_to(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root '.*cifar10.zip' does not exist"):
        CIFAR10(str(tmp_path / "cifar10.zip"))


@pytest.mark.parametrize("dataset", SETS)
def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch, dataset):
    def refuse(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    data = dataset(str(tmp_path / "data"))
    pattern = rf"^{dataset.__name__} could not be downloaded to root '.*' \(.*\); put the files from http\S+ there, or"
    with pytest.raises(FileNotFoundError, match=pattern) as error:
        data.prepare_data()
    assert len(str(error.value).splitlines()) == 1


def test_samples_are_drawn_without_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "read", lambda *_: pytest.fail("it is not needed"))
    data = CIFAR10(str(tmp_path))
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.PREDICTING))
    data.prepare_data()
    data.setup("predict")


def test_an_absent_set_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="CIFAR10 is not in root"):
        CIFAR10(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("dataset", "facts", "flip"),
    [
        (CIFAR10, (32, 3, 10, "cifar10"), True),
        (CIFAR100, (32, 3, 100, "cifar100"), True),
        (MNIST, (32, 1, 10, "mnist"), False),
        (FashionMNIST, (32, 1, 10, "fashionmnist"), False),
        (STL10, (48, 3, 0, "stl10"), True),
        (CelebA, (64, 3, 0, "celeba"), True),
    ],
)
def test_what_networks_are_built_from_needs_no_files(tmp_path, dataset, facts, flip):
    data = dataset(str(tmp_path))
    assert (data.image_size, data.channels, data.num_classes, data.name) == facts
    assert data.flip is flip


@pytest.mark.parametrize("content", [b"<html>", b"\x1f\x8b\x08\x00", b""])
def test_files_that_are_none_of_the_set_s_are_one_line(tmp_path, content):
    names = [f"{split}-{what}" for split in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    write_folder(tmp_path / "MNIST/raw", dict.fromkeys(names, content))
    with pytest.raises(FileNotFoundError, match=r"^MNIST is not in root '.*' \(.+\); put the files from ") as error:
        MNIST(str(tmp_path)).setup("fit")
    assert len(str(error.value).splitlines()) == 1


def test_a_set_s_own_files_come_before_images(tmp_path):
    write_mnist(tmp_path, "MNIST")
    write_folder(tmp_path, {"train/other/1.png": encode(noise(9, 9))})
    assert MNIST(str(tmp_path)).num_images("train") == 5
