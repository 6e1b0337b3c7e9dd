"""docs/study/cifar10.md shows the tables that its program makes of the records."""

from pathlib import Path

from benchmarks.studies import chosen_setting, tables
from gan.cli.configurations import shipped
from gan.study.description import read_study

STUDIES = [read_study(shipped("studies")[name]) for name in ("cifar10", "cifar10_more")]
PAGE = (Path(__file__).parents[1] / "docs" / "study" / "cifar10.md").read_text(encoding="utf-8")


def test_the_page_has_the_tables_of_the_records():
    for table in tables(STUDIES):
        assert table in PAGE, "python -m benchmarks.studies cifar10 cifar10_more prints the tables"


def test_the_smallest_last_score_chooses_the_setting():
    """By hand, from the lines of the records: `five` 4.87 of 6.37, 5.52, 5.02; `two` 5.02 of 6.55, 5.58, 6.29."""
    study = STUDIES[0]
    assert (chosen_setting(study, "none"), chosen_setting(study, "spectral")) == ("five", "two")
