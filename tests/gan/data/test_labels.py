"""`dataset.json` by the rules of StyleGAN's dataset tool."""

import json

import numpy as np
import pytest
from image_files import encode, noise, write_folder, write_zip

from gan.data import Folder

IMAGE = encode(noise(4, 4, 3))
SHARDS = [f"{number // 4:05}/img{number:08}.png" for number in range(12)]


def stylegan(path, labels, write=write_zip, names=SHARDS, folder="", **more):
    files = {f"{folder}{name}": encode(np.full((4, 4), number, np.uint8)) for number, name in enumerate(names)}
    return write(path / "set.zip", files | {f"{folder}dataset.json": json.dumps({"labels": labels, **more}).encode()})


def labels_of(root, **options):
    return Folder(root, 4, 1, **options).labels("train").tolist()


@pytest.mark.parametrize("write", [write_zip, write_folder])
@pytest.mark.parametrize("folder", ["", "around/"])
def test_labels_are_those_of_the_file_and_shards_no_classes(tmp_path, write, folder):
    wanted = [number % 3 for number in range(12)]
    root = stylegan(
        tmp_path, [[name, label] for name, label in zip(SHARDS, wanted, strict=True)][::-1], write, folder=folder
    )
    data = Folder(root, 4, 1)
    assert data.labels("train").tolist() == wanted
    assert data.classes == ("0", "1", "2")
    assert data.images_at("train", range(12))[:, 0, 0, 0].tolist() == list(range(12))


FORMS = {
    "one-hot": ([[name, [0.0, 0.0, 1.0]] for name in SHARDS], [2] * 12, 3),
    "back slashes": ([[name.replace("/", "\\"), 1] for name in SHARDS], [1] * 12, 2),
    "a gap": ([[name, 4 * (name == SHARDS[0])] for name in SHARDS], [4] + [0] * 11, 5),
    "one null": ([[name, None if name == SHARDS[5] else 3] for name in SHARDS], [0] * 12, 0),
    "null": (None, [0] * 12, 0),
    "one class": ([[name, 0] for name in SHARDS], [0] * 12, 0),
    "entries of images that are gone": ([[name, 1] for name in [*SHARDS, "00009/gone.png"]], [1] * 12, 2),
}


@pytest.mark.parametrize(("entries", "labels", "num_classes"), FORMS.values(), ids=FORMS)
def test_forms(tmp_path, entries, labels, num_classes):
    root = stylegan(tmp_path, entries)
    assert labels_of(root) == labels
    assert Folder(root).num_classes == num_classes


REFUSED = {
    "no entry": ([[name, 1] for name in SHARDS[1:]], r"'00000/img00000000.png' has no entry in dataset.json"),
    "a vector": (
        [[name, [0.5, 0.5]] for name in SHARDS],
        r"dataset.json' the label of '.*' is a vector that is no class",
    ),
    "text": ([[name, "cat"] for name in SHARDS], r"must be a number from 0 to 65535 or a list, got 'cat'"),
    "below zero": ([[name, -1] for name in SHARDS], r"must be a number from 0 .*, got -1"),
    "part of a number": ([[name, 0.5] for name in SHARDS], r"must be a number from 0 .*, got 0.5"),
    "truth": ([[name, True] for name in SHARDS], r"must be a number from 0 .*, got True"),
    "no pairs": ([1, 2], r'"labels" must be a list of \[path, label\]'),
    "a dictionary": ({"a": 1}, r'"labels" must be a list of \[path, label\]'),
}


@pytest.mark.parametrize(("entries", "line"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_the_rules_is_refused(tmp_path, entries, line):
    root = stylegan(tmp_path, entries)
    with pytest.raises(ValueError, match=line):
        Folder(root)
    assert labels_of(root, labels="none") == [0] * 12


@pytest.mark.parametrize(("content", "line"), [(b"{", "'dataset.json' is no JSON"), (b"[]", "'dataset.json' holds no")])
def test_a_file_that_is_none_of_stylegans(tmp_path, content, line):
    root = write_folder(tmp_path / "set", {"a/1.png": IMAGE, "b/1.png": IMAGE, "dataset.json": content})
    with pytest.raises(ValueError, match=line):
        Folder(root)
    assert Folder(root, labels="folders").classes == ("a", "b")


def test_names_of_classes_beside_the_labels(tmp_path):
    root = stylegan(tmp_path, [[name, 1] for name in SHARDS], classes=["cat", "dog", "eel"])
    assert Folder(root).classes == ("cat", "dog", "eel")
    with pytest.raises(ValueError, match=r'"classes" must be a list of at least 2 names'):
        Folder(stylegan(tmp_path, [[name, 1] for name in SHARDS], classes=["cat"]))
    with pytest.raises(ValueError, match=r'"classes" names more than one class \'cat\''):
        Folder(stylegan(tmp_path, [[name, 1] for name in SHARDS], classes=["cat", "cat"]))


def test_every_split_may_have_its_own_file(tmp_path):
    files = {f"{split}/{name}": IMAGE for split in ("train", "test") for name in "ab" for name in (f"{name}.png",)}
    tables = {
        f"{split}/dataset.json": json.dumps({"labels": [["a.png", first], ["b.png", 1 - first]]}).encode()
        for first, split in enumerate(("train", "test"))
    }
    data = Folder(write_folder(tmp_path / "set", files | tables))
    assert data.labels("train").tolist() == [0, 1]
    assert data.labels("test").tolist() == [1, 0]
    (tmp_path / "set/test/dataset.json").unlink()
    assert Folder(str(tmp_path / "set")).labels("test").tolist() == [0, 0]


def test_shards_without_labels(tmp_path):
    root = write_folder(tmp_path / "set", dict.fromkeys(SHARDS, IMAGE))
    with pytest.raises(ValueError, match=r"root '.*': the folders 00000, 00001, 00002 look like parts"):
        Folder(root)
    assert Folder(root, labels="none").num_classes == 0
    assert Folder(root, labels="folders").num_classes == 3
