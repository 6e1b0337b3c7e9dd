"""docs/study/cifar10.md shows the tables that its program makes of the records."""

import json
from pathlib import Path

from benchmarks import studies
from benchmarks.studies import chosen_setting, tables
from gan.cli.configurations import shipped
from gan.study.description import Study, Tuning, read_study

STUDIES = [read_study(shipped("studies")[name]) for name in ("cifar10", "cifar10_more")]
PAGE = (Path(__file__).parents[1] / "docs" / "study" / "cifar10.md").read_text(encoding="utf-8")


def test_the_page_has_the_tables_of_the_records():
    for table in tables(STUDIES):
        assert table in PAGE, "python -m benchmarks.studies prints the tables"


def test_the_tables_by_hand(tmp_path, monkeypatch):
    """Two points, two settings and two seeds, in whose records the answers can be seen."""
    tuning = Tuning(9, "fd_cifar", {"slow": {"lr": 1}, "fast": {"lr": 2}})
    study = Study("s", "runs", [], {}, {"none": {}, "conv": {"norm": "Conv"}}, [0, 1], tuning)
    write = {
        "tuning/none-slow-seed9": [(3, 5.0)],
        "tuning/none-fast-seed9": [(3, 4.0)],
        "tuning/conv-slow-seed9": [(3, 7.0)],
        "tuning/conv-fast-seed9": [(3, float("nan"))],
        "none-seed0": [(0, 9.0), (1000, 3.0), (10000, 2.0)],
        "none-seed1": [(0, 9.0), (1000, 3.0), (10000, 4.0)],
        "conv-seed0": [(0, 9.0), (1000, 1.0), (10000, 6.0)],
        "conv-seed1": [(0, 9.0), (1000, 2.0)],
    }
    for name, scores in write.items():
        lines = [{"step": step, "fd_cifar": score} for step, score in scores]
        norms = [{"step": step, "operator_norm/discriminator/a": step / 100, studies.LINEAR: 0.5} for step, _ in scores]
        file = tmp_path / "s" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines + norms))
    final = [{"run": f"none-seed{seed}", "fd_cifar": 1.0 + seed} for seed in (0, 1)]
    final = [{**line, "precision_cifar": 0.5, "recall_cifar": 0.25} for line in final]
    (tmp_path / "s" / "final.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in final))
    monkeypatch.setattr(studies, "FOLDER", tmp_path)

    assert (chosen_setting(study, "none"), chosen_setting(study, "conv")) == ("fast", "slow")
    settings, results, differences, norms = (table.splitlines()[2:] for table in tables([study]))
    assert settings == ["| none | 5.00 | **4.00** |", "| conv | **7.00** | nan |"]
    assert results == [
        "| none | fast | 1.50 ± 0.71 | 0.500 ± 0.000 | 0.250 ± 0.000 | 3.00 ± 1.41 | 2.50 ± 0.71 | 10,000, 1,000 |",
        "| conv | slow | not scored | not scored | not scored | 1.50 ± 0.71 | 1.50 ± 0.71 | 1,000, 1,000 |",
    ]
    assert differences == ["| none | +0.00 | +0.00 | +0.00 |"]
    assert norms == ["| none | 10.00 | 100.00 | 0.50 | 0.50 |", "| conv | 10.00 |  | 0.50 |  |"]
