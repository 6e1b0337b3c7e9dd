"""Splits and classes from the names of folders."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from gan.data.words import FILLERS, SPLITS, some, split_of

Folders = dict[str, tuple[str, ...]]  # the folders that lead to each file
_ORDER = "train", "val", "test", "unlabeled"
_SHARD = re.compile(r"\d{5,}")


@dataclass(frozen=True)
class Layout:
    """Splits and classes of a set of image files.

    Attributes:
        splits: The files and their labels, by split; `train` alone where the folders name no split. Labels are 0 where
            there are no classes, and of images of other splits that are in none of them.
        classes: Names of the classes, sorted; empty if there are fewer than two.
    """

    splits: Mapping[str, Mapping[str, int]]
    classes: tuple[str, ...]


def find_splits(
    names: Iterable[str], train_folder: str | None = None, test_folder: str | None = None
) -> dict[str, Folders]:
    """Return the files of each split, each with the folders below the split that lead to it.

    A folder that alone holds everything is looked through (`photos/cat/1.png` in `photos.zip`), and so is one inside
    a split that repeats its name (`train/train/`). Splits are the top folders whose names say so: a word for a split
    alone or with what all of them share (`seg_train`, `seg_test`), or with classes (`trainA`, `trainB`); or the
    folders in every class (`cat/train`). Without such folders all images are training images.

    Args:
        names: The files.
        train_folder: The folder that holds the training images, "." for all; None: as the folders' names tell.
        test_folder: The folder that holds the test images, if `train_folder` is given; None: there is none.

    Raises:
        ValueError: If folders look like splits and leave open which images belong to them, or a given folder holds
            none.
    """
    files = {name: folders_of(name) for name in names}
    if train_folder is None:
        if test_folder is not None:
            raise ValueError(f"test_folder needs train_folder too, got {test_folder!r} alone")
        splits = _by_name(_look_through(files))
    else:
        splits = {"train": _below(files, "train_folder", train_folder)}
        if test_folder is not None:
            splits["test"] = _below(files, "test_folder", test_folder)
    return {split: _unwrapped(splits[split], split) for split in _ORDER if split in splits}


def find_classes(splits: Mapping[str, Folders], certain: bool = False) -> tuple[str, ...]:
    """Return the names of the classes: the folders of the training images, if all lie in such, and in at least two.

    A class that another split alone has cannot be learnt.

    Args:
        splits: The files of each split, and their folders.
        certain: Whether the folders are classes beyond doubt.

    Raises:
        ValueError: If the folders look like parts of one numbered set, and it is not certain that they are classes.
    """
    training = splits.get("train") or next(iter(splits.values()))
    if not all(training.values()):
        return ()
    names = sorted({_top(folders) for folders in training.values()})
    if len(names) < 2:
        return ()
    if not certain and _are_shards(training):
        raise ValueError(
            f"the folders {some(names)} look like parts of one numbered set: --data.labels none takes them for that, "
            "--data.labels folders for classes"
        )
    return tuple(names)


def label_by_folder(splits: Mapping[str, Folders], classes: tuple[str, ...]) -> Layout:
    """Return the splits with the number of each image's class."""
    numbers = {name: number for number, name in enumerate(classes)}
    labels = {
        split: {name: numbers.get(_top(folders), 0) for name, folders in files.items()}
        for split, files in splits.items()
    }
    return Layout(labels, classes)


def folders_of(name: str) -> tuple[str, ...]:
    """Return the folders in a file's name."""
    return parts_of(name)[:-1]


def parts_of(name: str) -> tuple[str, ...]:
    """Return the folders in a file's name, and the last part."""
    # One class may be spelled in two ways: macOS decomposes the accents in file names.
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


def _top(folders: tuple[str, ...]) -> str:
    return folders[0] if folders else ""


def _look_through(files: Folders) -> Folders:
    tops = {_top(folders) for folders in files.values()}
    if len(tops) > 1 or tops == {""} or SPLITS.get(tops.pop().lower(), "unlabeled") != "unlabeled":
        return files
    return _look_through({name: folders[1:] for name, folders in files.items()})


def _below(files: Folders, argument: str, folder: str) -> Folders:
    """Return the files below a folder, which is given from the root on or from where the folders branch."""
    path = parts_of(folder)
    for tree in (files, _look_through(files)) if path else (_look_through(files),):
        below = {name: folders[len(path) :] for name, folders in tree.items() if folders[: len(path)] == path}
        if below:
            return below
    tops = sorted({_top(folders) or "." for folders in _look_through(files).values()})
    raise ValueError(f"{argument} {folder!r} holds no images; there are {some(tops)}")


def _by_name(files: Folders) -> dict[str, Folders]:
    tops = sorted({_top(folders) for folders in files.values()})
    told = {top: split for top in tops if (split := split_of(top))}
    others = [top for top in tops if top not in told]
    if not told:
        return _by_second_folder(files)
    if others:
        if any(not rest for _, rest in told.values()) or len(told) >= len(others):
            raise ValueError(
                _question(told, [top or next(name for name in files if not files[name]) for top in others])
            )
        return {"train": files}  # of many folders one is called bullet_train
    return _grouped(files, told)


def _grouped(files: Folders, told: Mapping[str, tuple[str, str]]) -> dict[str, Folders]:
    """Return the splits where every top folder names one."""
    folders_by_split: dict[str, list[str]] = {}
    for split, rest in told.values():
        folders_by_split.setdefault(split, []).append(rest)
    labelled = [rest for split, rest in told.values() if split != "unlabeled"]
    distinct = len(set(told.values())) == len(told)
    alone = all(len(rests) == 1 for rests in folders_by_split.values())
    if distinct and alone and _are_one(labelled):
        keep = False  # the rest says nothing
    elif (
        distinct
        and all(re.search(r"[^\W\d]", rest) for rest in labelled)
        and max(map(len, folders_by_split.values())) > 1
    ):
        keep = True  # the rests are classes
    else:
        raise ValueError(_question(told, []))
    splits: dict[str, Folders] = {}
    for name, (top, *inner) in files.items():
        split, rest = told[top]
        splits.setdefault(split, {})[name] = (rest, *inner) if keep else tuple(inner)
    return splits


def _are_one(rests: list[str]) -> bool:
    """Whether what stands beside the words for splits is the same, but for a number (train2017, val2014)."""
    return len({re.sub(r"\d+", "", rest).lower() for rest in rests}) == 1


def _by_second_folder(files: Folders) -> dict[str, Folders]:
    """Return the splits where every class has its own."""
    words = {name: SPLITS.get(_top(folders[1:]).lower()) for name, folders in files.items()}
    if len(set(words.values()) - {None}) < 2:
        return {"train": files}
    if None in words.values():
        name = next(name for name, word in words.items() if word is None)
        inside = sorted({folders[1] for name, folders in files.items() if words[name]})
        raise ValueError(_question({folder: ("", "") for folder in inside}, [name]))
    splits: dict[str, Folders] = {}
    for name, folders in files.items():
        splits.setdefault(str(words[name]), {})[name] = (folders[0], *folders[2:])
    return splits


def _question(told: Mapping[str, object], others: list[str]) -> str:
    beside = f", but {some(others)} {'lies' if len(others) == 1 else 'lie'} beside" if others else ""
    return (
        f"the folders {some(told)} look like splits{beside}, which leaves open what to train on: "
        "--data.train_folder NAME takes one, --data.train_folder . all, with each folder as a class"
    )


def _unwrapped(files: Folders, split: str) -> Folders:
    """Look through a folder that holds all of a split and is called like one, or says nothing."""
    tops = {_top(folders) for folders in files.values()}
    top = tops.pop()
    if tops or not (top.lower() in FILLERS or (split_of(top) or ("",))[0] == split):
        return files
    return _unwrapped({name: folders[1:] for name, folders in files.items()}, split)


def _are_shards(files: Folders) -> bool:
    """Whether folders are called 00000, 00001, ... and the numbers of their images go on from one to the next."""
    numbers: dict[str, list[int]] = {}
    for name, folders in files.items():
        digits = re.findall(r"\d+", parts_of(name)[-1])
        if not digits or not _SHARD.fullmatch(_top(folders)):
            return False
        numbers.setdefault(_top(folders), []).append(int(digits[-1]))
    ordered = [number for _, inside in sorted(numbers.items()) for number in sorted(inside)]
    return all(a < b for a, b in pairwise(ordered))
