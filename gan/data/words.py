"""Words for splits in the names of folders."""

import re
from collections.abc import Iterable
from itertools import islice

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "pred": "unlabeled",
    "predict": "unlabeled",
    "prediction": "unlabeled",
    "predictions": "unlabeled",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}
# What may stand beside the word and says nothing: training_set, images_train
FILLERS = ("dataset", "data", "set", "split", "images", "image", "imgs", "img", "photos", "pictures", "samples")

_WORD = f"(?i:{'|'.join(sorted(SPLITS, key=len, reverse=True))})"
_FILLER = f"(?i:{'|'.join(FILLERS)})"
# The word ends where no lower-case letter follows (trainA, train2017, but not trainer), or before a filler (trainset).
_AT_START = re.compile(rf"(?P<word>{_WORD})(?P<rest>{_FILLER}(?![a-z])|(?![a-z]).*|$)")
# It begins after what is no letter (seg_train), or with a capital after a small letter (SegTrain).
_AT_END = re.compile(rf"(?P<rest>.*(?:[\W\d_]|[a-z](?=[A-Z])))(?P<word>{_WORD})(?P<number>[\W_]*\d*)")


def split_of(folder: str) -> tuple[str, str] | None:
    """Return the split that a folder's name tells, and what else is in the name; None if it tells none.

    `training_set` is ("train", ""), `seg_test` is ("test", "seg"), `trainA` is ("train", "A").
    """
    if match := _AT_START.fullmatch(folder):
        rest = match["rest"]
    elif match := _AT_END.fullmatch(folder):
        rest = match["rest"] + match["number"]
    else:
        return None
    rest = rest.strip("-_. ")
    return SPLITS[match["word"].lower()], "" if rest.lower() in FILLERS else rest


def some(names: Iterable[str], limit: int = 4) -> str:
    """Return names for a message: the first few, then "…" if there are more."""
    listed = list(islice(names, limit + 1))
    return ", ".join(listed if len(listed) <= limit else [*listed[:limit], "…"])
