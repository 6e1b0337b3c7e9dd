"""Inspection of a set of images before a training."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gan.data.decode import DamagedError, Frame, decode
from gan.data.files import count_by_suffix
from gan.data.pool import run_all
from gan.data.tree import ImageTree
from gan.data.words import some
from gan.images import encoded, size_text, tile
from gan.runs.files import write_atomically

SHEET = 64  # images on the sheet
Progress = Callable[[int, int], None]


@dataclass
class Findings:
    """The findings about a set of images.

    Attributes:
        sizes: How many images have each (width, height).
        enlarged: How many would be made larger.
        damaged: What is wrong with those that cannot be read, with their names.
        equal: Names of the images of each group with equal pixels.
        kinds: How many images each format has.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    enlarged: int = 0
    damaged: list[str] = field(default_factory=list)
    equal: list[list[str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


def inspect(tree: ImageTree, frame: Frame, workers: int, progress: Progress) -> Findings:
    """Read all images and return what was found."""
    names = [name for files in tree.labels.values() for name in files]
    findings, by_content = Findings(), dict[str, list[str]]()
    results = run_all(_look_at, tree, names, workers, at_once=8)
    for number, (name, (fault, size, kind, content)) in enumerate(zip(names, results, strict=True), 1):
        if fault:
            findings.damaged.append(f"{name!r} {fault}")
        else:
            findings.sizes[size] += 1
            findings.kinds[kind] += 1
            findings.enlarged += frame.enlarges(*size)
            by_content.setdefault(content, []).append(name)
        progress(number, len(names))
    findings.equal = [group for group in by_content.values() if len(group) > 1]
    return findings


def describe(tree: ImageTree, frame: Frame, findings: Findings) -> str:
    """Return the findings as text, a line each."""
    lines = [f"{tree.root}: {sum(map(len, tree.labels.values())):,} images, labels: {tree.labels_from}"]
    for split, files in tree.labels.items():
        lines.append(f"split {split}: {len(files):,} images")
        counts = Counter(files.values())
        lines += [f"  {label} {name}: {counts[label]:,}" for label, name in enumerate(tree.classes)]
    lines += _sizes(findings, frame)
    if findings.kinds:
        lines.append("formats: " + ", ".join(f"{number:,} {kind}" for kind, number in findings.kinds.most_common()))
    lines.append(f"damaged: {len(findings.damaged):,}" + _listed(findings.damaged))
    lines.append(f"passed over: {count_by_suffix(tree.passed_over) or 'none'}")
    lines.append(f"equal by content: {sum(len(group) - 1 for group in findings.equal):,} images more than once")
    lines += [f"  {some(group)}" for group in findings.equal[:5]]
    split_of = {name: split for split, files in tree.labels.items() for name in files}
    if across := [group for group in findings.equal if len({split_of[name] for name in group}) > 1]:
        lines.append(f"  {len(across):,} of them are in more than one split, as {some(across[0])}")
    return "\n".join(lines)


def write_sheet(tree: ImageTree, frame: Frame, path: Path) -> None:
    """Write a picture of how `SHEET` images, spread over the training images, will look."""
    source = tree.source("train" if "train" in tree.splits else tree.splits[0], frame)
    images = []
    for place in range(min(SHEET, len(source))):
        try:
            images.append(source[place * len(source) // min(SHEET, len(source))])
        except DamagedError:
            continue
    if images:
        content = encoded(tile(torch.stack(images), columns=8))
        write_atomically(path, lambda file: file.write(content))


def _look_at(tree: ImageTree, name: str) -> tuple[str, tuple[int, int], str, str]:
    """Return what is wrong with an image, or else its size, format and a hash of its pixels."""
    try:
        content = tree.files.read(name)
        image = decode(content)
        kind = image.format or "?"
        pixels = image.convert("RGB").tobytes()
    except ValueError as error:
        return str(error), (0, 0), "", ""
    return "", image.size, kind, hashlib.sha256(repr(image.size).encode() + pixels).hexdigest()


def _sizes(findings: Findings, frame: Frame) -> list[str]:
    if not findings.sizes:
        return []
    widths, heights = zip(*findings.sizes, strict=True)
    common = some(f"{width}x{height} ({number:,})" for (width, height), number in findings.sizes.most_common())
    return [
        f"sizes (width x height): {min(widths)} to {max(widths)} x {min(heights)} to {max(heights)}; {common}",
        f"enlarged to {size_text(frame.size)}: {findings.enlarged:,}",
    ]


def _listed(texts: list[str]) -> str:
    return "".join(f"\n  {text}" for text in texts[:20]) + ("\n  …" if len(texts) > 20 else "")
