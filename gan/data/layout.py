"""What the folders around images mean: splits, and classes."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_Folders = dict[str, tuple[str, ...]]  # the folders that lead to each file


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


def read_layout(names: Iterable[str]) -> Layout:
    """Find splits and classes in the names of files.

    A folder that alone holds everything is looked through (`photos/cat/1.png` in `photos.zip`). Top folders named
    train (training), val (valid, validation) and test (testing) are splits. The training split's next folders are the
    classes, if all its images lie in such folders, and there are at least two: one that another split alone has cannot
    be learnt.

    Raises:
        ValueError: If there are splits, and images beside them.
    """
    splits = _splits(_look_through({name: _folders(name) for name in names}))
    classes = _classes(splits)
    return Layout({split: _labels(files, classes) for split, files in splits.items()}, classes)


def _folders(name: str) -> tuple[str, ...]:
    # One class may be spelled in two ways: macOS decomposes the accents in file names.
    folders = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")[:-1]
    return tuple(folder for folder in folders if folder not in ("", "."))


def _top(folders: tuple[str, ...]) -> str:
    return folders[0] if folders else ""


def _look_through(files: _Folders) -> _Folders:
    tops = {_top(folders) for folders in files.values()}
    if len(tops) > 1 or tops == {""} or tops.pop().lower() in SPLITS:
        return files
    return _look_through({name: folders[1:] for name, folders in files.items()})


def _splits(files: _Folders) -> dict[str, _Folders]:
    splits: dict[str, _Folders] = {}
    beside: _Folders = {}
    for name, folders in files.items():
        split = SPLITS.get(_top(folders).lower())
        if split is None:
            beside[name] = folders
        else:
            splits.setdefault(split, {})[name] = folders[1:]
    if not beside:
        return {split: splits[split] for split in SPLITS.values() if split in splits}
    if len(splits) > 1 or (splits and not any(beside.values())):
        raise ValueError(f"{next(iter(beside))!r} lies beside the splits {', '.join(splits)}; move it into one of them")
    return {"train": files}  # a lone `train` among other folders is a class


def _classes(splits: Mapping[str, _Folders]) -> tuple[str, ...]:
    training = splits.get("train") or next(iter(splits.values()))
    if not all(training.values()):
        return ()
    names = {_top(folders) for folders in training.values()}
    return tuple(sorted(names)) if len(names) > 1 else ()


def _labels(files: _Folders, classes: tuple[str, ...]) -> dict[str, int]:
    numbers = {name: number for number, name in enumerate(classes)}
    return {name: numbers.get(_top(folders), 0) for name, folders in files.items()}
