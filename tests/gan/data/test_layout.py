import unicodedata

import pytest

from gan.data.layout import read_layout

NFC, NFD = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))

# names -> labels by split, classes
LAYOUTS = {
    "loose images": (["b.png", "a.png"], {"train": [0, 0]}, ()),
    "classes": (["cat/1.png", "dog/1.png", "dog/2.png"], {"train": [0, 1, 1]}, ("cat", "dog")),
    "classes are sorted": (["dog/1.png", "cat/1.png"], {"train": [1, 0]}, ("cat", "dog")),
    "folders below classes": (["cat/a/1.png", "dog/b/c/1.png"], {"train": [0, 1]}, ("cat", "dog")),
    "one folder is no class": (["photos/1.png", "photos/2.png"], {"train": [0, 0]}, ()),
    "a folder around classes": (["pets/cat/1.png", "pets/dog/1.png"], {"train": [0, 1]}, ("cat", "dog")),
    "splits": (["train/1.png", "test/1.png", "test/2.png"], {"train": [0], "test": [0, 0]}, ()),
    "a folder around splits": (["x/train/1.png", "x/test/1.png"], {"train": [0], "test": [0]}, ()),
    "splits of classes": (
        ["train/cat/1.png", "train/dog/1.png", "test/dog/1.png"],
        {"train": [0, 1], "test": [1]},
        ("cat", "dog"),
    ),
    "one class is none": (["train/cat/1.png", "test/cat/1.png"], {"train": [0], "test": [0]}, ()),
    "a class that only the test split has": (
        ["train/b/1.png", "train/c/1.png", "test/a/1.png"],
        {"train": [0, 1], "test": [0]},
        ("b", "c"),
    ),
    "unlabeled test images": (
        ["train/cat/1.png", "train/dog/1.png", "test/1.png"],
        {"train": [0, 1], "test": [0]},
        ("cat", "dog"),
    ),
    "names of validation splits": (["Train/1.png", "valid/1.png"], {"train": [0], "val": [0]}, ()),
    "names of other splits": (["training/1.png", "Testing/1.png"], {"train": [0], "test": [0]}, ()),
    "a test split alone": (["test/a/1.png", "test/b/1.png"], {"test": [0, 1]}, ("a", "b")),
    "loose images beside folders": (["1.png", "cat/1.png", "dog/1.png"], {"train": [0, 0, 0]}, ()),
    "a class called train": (["car/1.png", "train/1.png"], {"train": [0, 1]}, ("car", "train")),
    "backslashes of Windows": (["train\\cat\\1.png", "train\\dog\\1.png"], {"train": [0, 1]}, ("cat", "dog")),
    "a leading dot": (["./cat/1.png", "./dog/1.png"], {"train": [0, 1]}, ("cat", "dog")),
    "any script": (["貓/1.png", "كلب/1.png", "🐟/1.png"], {"train": [1, 0, 2]}, ("كلب", "貓", "🐟")),
    "accents spelled in two ways": ([f"{NFC}/1.png", f"{NFD}/2.png", "Bar/1.png"], {"train": [1, 1, 0]}, ("Bar", NFC)),
}


@pytest.mark.parametrize(("names", "labels", "classes"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout(names, labels, classes):
    layout = read_layout(names)
    assert {split: list(files.values()) for split, files in layout.splits.items()} == labels
    assert layout.classes == classes
    assert {name for files in layout.splits.values() for name in files} == set(names)


def test_the_training_split_comes_first():
    assert list(read_layout(["test/1.png", "val/1.png", "train/1.png"]).splits) == ["train", "val", "test"]


@pytest.mark.parametrize("beside", ["more/1.png", "1.png"])
def test_images_beside_splits_are_refused(beside):
    with pytest.raises(ValueError, match=f"'{beside}' lies beside the splits train, test"):
        read_layout(["train/1.png", "test/1.png", beside])


def test_a_loose_image_beside_a_training_split_alone_is_refused():
    """It would make one unlabeled set of all."""
    with pytest.raises(ValueError, match=r"'preview.png' lies beside the splits train; move it"):
        read_layout(["train/cat/1.png", "train/dog/1.png", "preview.png"])
