"""docs/gallery.md shows every finished run of docs/study with the scores of its record."""

import json
import re
import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_every_picture_stands_over_its_own_scores():
    shown = re.findall(r"^\| (!\[.*) \|\n\| (.*) \|$", PAGE, re.M)
    pairs = [pair for row in shown for pair in zip(*(cells.split(" | ") for cells in row), strict=True)]
    pictures = {re.search(r"\((.*)\)", picture)[1]: text for picture, text in pairs}
    assert {DOCS / path for path in pictures} == set((DOCS / "study").rglob("*.png"))
    for path, text in pictures.items():
        lines = [json.loads(line) for line in (DOCS / path).with_suffix(".jsonl").read_text().splitlines()]
        last = max((line for line in lines if "protocol" in line), key=lambda line: line["step"])
        assert text.startswith(f"{last['step']:,} steps, ")
        for name, value in re.findall(r"`(\w+)` ([\d.]+)", text):
            assert f"{last[name]:.3g}" == value


def test_the_page_is_what_its_program_makes():
    made = runpy.run_path(str(DOCS.parent / "benchmarks" / "gallery.py"))["page"]()
    assert made == PAGE, "run python -m benchmarks.gallery"
