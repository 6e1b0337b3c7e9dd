import unicodedata

import pytest

from gan.data.layout import find_classes, find_splits, label_by_folder


def read_layout(names, **folders):
    splits = find_splits(names, **folders)
    return label_by_folder(splits, find_classes(splits))


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
    "one class of many called like a train": (
        ["bullet_train/1.png", "car/1.png", "test_tube/1.png", "bus/1.png", "cat/1.png"],
        {"train": [0, 2, 4, 1, 3]},
        ("bullet_train", "bus", "car", "cat", "test_tube"),
    ),
    "trainer is no train": (["trainer/1.png", "tester/1.png"], {"train": [1, 0]}, ("tester", "trainer")),
    "Kaggle's Intel scenes": (
        [
            "seg_train/seg_train/sea/1.jpg",
            "seg_train/seg_train/ice/1.jpg",
            "seg_test/seg_test/sea/1.jpg",
            "seg_test/seg_test/ice/1.jpg",
            "seg_pred/seg_pred/1.jpg",
        ],
        {"train": [1, 0], "test": [1, 0], "unlabeled": [0]},
        ("ice", "sea"),
    ),
    "Kaggle's cats and dogs": (
        [
            "training_set/training_set/cats/1.jpg",
            "training_set/training_set/dogs/1.jpg",
            "test_set/test_set/cats/1.jpg",
        ],
        {"train": [0, 1], "test": [0]},
        ("cats", "dogs"),
    ),
    "Kaggle's chest X-rays": (
        [
            "chest_xray/chest_xray/train/NORMAL/1.jpg",
            "chest_xray/chest_xray/train/PNEUMONIA/1.jpg",
            "chest_xray/chest_xray/val/NORMAL/1.jpg",
        ],
        {"train": [0, 1], "val": [0]},
        ("NORMAL", "PNEUMONIA"),
    ),
    "train/train": (["train/train/1.png", "train/train/2.png", "test/test/1.png"], {"train": [0, 0], "test": [0]}, ()),
    "train/train alone": (["train/train/cat/1.png", "train/train/dog/1.png"], {"train": [0, 1]}, ("cat", "dog")),
    "train/images": (
        ["train/images/a/1.png", "train/images/b/1.png", "test/images/b/1.png"],
        {"train": [0, 1], "test": [1]},
        ("a", "b"),
    ),
    "CycleGAN's": (
        ["trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg", "testB/1.jpg"],
        {"train": [0, 1], "test": [0, 1]},
        ("A", "B"),
    ),
    "trainA, trainB": (["trainA/1.jpg", "trainB/1.jpg"], {"train": [0, 1]}, ("A", "B")),
    "COCO's years": (["train2017/1.jpg", "val2014/1.jpg"], {"train": [0], "val": [0]}, ()),
    "fruits-360": (
        ["Training/Apple/1.jpg", "Training/Kiwi/1.jpg", "Test/Kiwi/1.jpg"],
        {"train": [0, 1], "test": [1]},
        ("Apple", "Kiwi"),
    ),
    "images_train": (["images_train/1.png", "images-test/1.png"], {"train": [0], "test": [0]}, ()),
    "TrainSet": (["TrainSet/1.png", "TestSet/1.png"], {"train": [0], "test": [0]}, ()),
    "AfterCapitals": (["FacesTrain/1.png", "FacesTest/1.png"], {"train": [0], "test": [0]}, ()),
    "unlabeled images": (
        ["train/a/1.png", "train/b/1.png", "unlabeled/1.png"],
        {"train": [0, 1], "unlabeled": [0]},
        ("a", "b"),
    ),
    "splits in every class": (
        ["cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png"],
        {"train": [0, 1], "test": [0, 1]},
        ("cat", "dog"),
    ),
    "numbered classes": (["00000/00000_01.ppm", "00001/00000_01.ppm"], {"train": [0, 1]}, ("00000", "00001")),
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


REFUSED = {
    "folders beside splits": (
        ["train/1.png", "test/1.png", "more/1.png"],
        r"test, train look like splits, but more lies",
    ),
    "images beside splits": (
        ["train/1.png", "test/1.png", "1.png"],
        r"test, train look like splits, but 1.png lies beside",
    ),
    # It would make one unlabeled set of all
    "a loose image beside train": (
        ["train/a/1.png", "train/b/1.png", "x.png"],
        r"train look like splits, but x.png lies",
    ),
    "a class called train": (["car/1.png", "train/1.png"], r"train look like splits, but car lies beside"),
    "what holds out images": (["train/1.png", "holdout/1.png", "extra/1.png"], r"but extra, holdout lie beside"),
    "half a split": (["seg_train/1.png", "other/1.png"], r"seg_train look like splits, but other lies"),
    "two training sets": (["train/1.png", "training/1.png"], r"train, training look like splits"),
    "parts": (["train_1/1.png", "train_2/1.png"], r"train_1, train_2 look like splits"),
    "an extra set": (["train/1.png", "train_extra/1.png"], r"train, train_extra look like splits"),
    "different things": (["bullet_train/1.png", "test_tube/1.png"], r"bullet_train, test_tube look like splits"),
    "splits in some classes": (
        ["cat/train/1.png", "cat/test/1.png", "dog/1.png"],
        r"test, train look like .* dog/1.png",
    ),
    "shards": (
        [f"{k:05}/img{k * 2 + i:08}.png" for k in range(9) for i in range(2)],
        r"the folders 00000, 00001, 00002, 00003, … look like parts of one numbered set: --data.labels none",
    ),
}


@pytest.mark.parametrize(("names", "line"), REFUSED.values(), ids=REFUSED)
def test_what_is_open_is_asked_with_the_option_that_settles_it(names, line):
    with pytest.raises(ValueError, match=line) as refused:
        read_layout(names)
    assert "--data." in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_training_folder_that_is_given():
    names = ["root/car/1.png", "root/train/a/1.png", "root/train/b/1.png", "root/held/b/1.png"]
    for prefix in "", "root/":
        layout = read_layout(names, train_folder=f"{prefix}train")
        assert layout.splits == {"train": {"root/train/a/1.png": 0, "root/train/b/1.png": 1}}
        assert layout.classes == ("a", "b")
    layout = read_layout(names, train_folder="train", test_folder="held/")
    assert layout.splits["test"] == {"root/held/b/1.png": 1}
    assert read_layout(names, train_folder=".").classes == ("car", "held", "train")


@pytest.mark.parametrize(
    ("folders", "line"),
    [
        ({"train_folder": "tain"}, "train_folder 'tain' holds no images; there are car, train"),
        ({"train_folder": "train", "test_folder": "x"}, "test_folder 'x' holds no images; there are car, train"),
        ({"test_folder": "x"}, "test_folder needs train_folder too, got 'x' alone"),
    ],
)
def test_a_given_folder_that_is_not_there(folders, line):
    with pytest.raises(ValueError, match=line):
        read_layout(["car/1.png", "train/1.png"], **folders)
