"""Labels of image files, as the file `dataset.json` of StyleGAN's dataset tool holds them.

`{"labels": [["00000/img00000000.png", 6], ...]}`: paths relative to its folder, and the number of a class or a one-hot
list. Every image needs an entry. One label that is null, or null instead of the list, makes the set unlabelled. Source:
NVlabs/stylegan3, `dataset_tool.py` and `training/dataset.py`. `gan data convert` adds "classes", the classes' names.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gan.data.layout import Folders, Layout, folders_of, parts_of

LABELS_FILE = "dataset.json"
MAX_CLASSES = 2**16
Path = tuple[str, ...]


@dataclass(frozen=True)
class LabelTable:
    """The content of a `dataset.json`.

    Attributes:
        labels: Label of each image by the parts of its path; None: the set is unlabelled.
        classes: Names of the classes.
    """

    labels: Mapping[Path, int] | None
    classes: tuple[str, ...] = ()


def read_table(content: bytes) -> LabelTable:
    """Return what a `dataset.json` says.

    Raises:
        ValueError: If it does not follow the rules; the message is the reason and names no file.
    """
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(table, dict) or "labels" not in table:
        raise ValueError('holds no "labels"')
    entries = table["labels"]
    if entries is None:
        return LabelTable(None)
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise ValueError('"labels" must be a list of [path, label]')
    if any(label is None for _, label in entries):
        return LabelTable(None)
    labels = {parts_of(path): _class(path, label) for path, label in entries}
    width = max((len(label) for _, label in entries if isinstance(label, list)), default=0)
    return LabelTable(labels, _names(table.get("classes"), max(width, 1 + max(labels.values(), default=-1))))


def label_by_table(splits: Mapping[str, Folders], tables: Mapping[Path, LabelTable]) -> Layout:
    """Return the splits with the label of each image, from the table of the nearest folder around it that has one.

    Raises:
        ValueError: If an image has no entry.
    """
    labels: dict[str, dict[str, int]] = {split: {} for split in splits}
    classes: tuple[str, ...] = ()
    for split, files in splits.items():
        for name in files:
            table, path = _nearest(name, tables)
            if table is not None and table.labels is None:
                return Layout({split: dict.fromkeys(files, 0) for split, files in splits.items()}, ())
            if table is None and split != "train":
                labels[split][name] = 0
                continue
            if table is None or table.labels is None or path not in table.labels:
                raise ValueError(
                    f"{name!r} has no entry in {LABELS_FILE}, where every image needs one; --data.labels none trains "
                    "without labels"
                )
            labels[split][name] = table.labels[path]
            classes = max(classes, table.classes, key=len)
    return Layout(labels, classes if len(classes) > 1 else ())


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)


def _class(path: str, label: Any) -> int:
    """Return the number of the class: the label, or where a one-hot list has its one."""
    if isinstance(label, list) and all(_is_number(value) for value in label):
        if sorted(label, reverse=True)[:1] == [1] and sum(map(abs, label)) == 1:
            return label.index(1)
        raise ValueError(
            f"the label of {path!r} is a vector that is no class (one number 1, else 0), and networks are conditioned "
            "on classes alone; --data.labels none trains without labels"
        )
    if not _is_number(label) or label != int(label) or not 0 <= label < MAX_CLASSES:
        raise ValueError(f"the label of {path!r} must be a number from 0 to {MAX_CLASSES - 1} or a list, got {label!r}")
    return int(label)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _names(given: object, number: int) -> tuple[str, ...]:
    if given is None:
        return tuple(map(str, range(number)))
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given) or len(given) < number:
        raise ValueError(f'"classes" must be a list of at least {number} names')
    if twice := [name for name, times in Counter(given).items() if times > 1]:
        raise ValueError(f'"classes" names more than one class {twice[0]!r}')
    return tuple(given)


def _nearest(name: str, tables: Mapping[Path, LabelTable]) -> tuple[LabelTable | None, Path]:
    folders, path = folders_of(name), parts_of(name)
    for depth in reversed(range(len(folders) + 1)):
        if table := tables.get(folders[:depth]):
            return table, path[depth:]
    return None, path
