"""The pages on robust classifiers show the tables that their program makes of the records."""

import json
from pathlib import Path

import pytest

from benchmarks import robust_classifiers
from benchmarks.robust_classifiers import REPORTS, SCORES, SIZES, tables
from gan.cli.configurations import shipped
from gan.study.description import Study, read_study
from robustness.corruptions import STANDARD

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("name", "page"), REPORTS.items())
def test_the_pages_have_the_tables_of_the_records(name, page):
    report = (DOCS / "study" / page).read_text(encoding="utf-8")
    scores, *others = tables(read_study(shipped("studies")[name]))
    for table in (scores, *others):
        assert table in report, "python -m benchmarks.robust_classifiers prints the tables"
    assert scores in (DOCS / "robustness.md").read_text(encoding="utf-8")


def test_the_tables_by_hand(tmp_path, monkeypatch):
    """Two methods and three seeds, of which one lacks the last; an accuracy tells its corruption and severity."""
    study = Study("s", "runs", [], {}, {"batch": {}, "conv": {"norm": "Conv"}}, [0, 1, 2])
    for method, seeds, base in (("batch", 3, 10.0), ("conv", 2, 20.0)):
        for seed in range(seeds):
            summary = {key: base + 2 * seed for key in (*SCORES.values(), *SIZES.values())}
            table = ["kind,name,severity,images,value", "clean,clean,,10,99", "attack,fgsm,,10,99"]
            table += [
                f"corruption,{kind().name},{severity},10,{base + place + 100 * severity + seed}"
                for place, kind in enumerate(STANDARD)
                for severity in robust_classifiers.SEVERITIES
            ]
            file = tmp_path / "s" / f"{method}-seed{seed}"
            file.parent.mkdir(exist_ok=True)
            file.with_suffix(".jsonl").write_text(json.dumps({"step": 1}) + "\n" + json.dumps(summary) + "\n")
            file.with_suffix(".csv").write_text("\n".join(table))
    monkeypatch.setattr(robust_classifiers, "FOLDER", tmp_path)

    scores, differences, sizes, severities, corruptions = (table.splitlines()[2:] for table in tables(study))
    assert scores == [
        "| batch | 3 | " + " | ".join(["12.0 ± 2.0"] * len(SCORES)) + " |",
        "| conv | 2 | " + " | ".join(["21.0 ± 1.4"] * len(SCORES)) + " |",
    ]
    assert differences == ["| conv |" + " +10.0 (+10.0, +10.0) |" * len(robust_classifiers.COMPARED)]
    assert sizes[1] == "| conv |" + " 21.00 ± 1.41 |" * len(SIZES)
    middle = (len(STANDARD) - 1) / 2  # the mean place of a corruption
    means = " | ".join(f"{10 + middle + 100 * severity + 1:.1f} ± 1.0" for severity in range(1, 6))
    assert severities[0] == f"| batch | {means} |"
    assert corruptions[1] == "| shot noise | 312.0 ± 1.0 | 321.5 ± 0.7 |"
