import csv
import io
import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from written_runs import PROTOCOL, write_run

from gan.cli.main import main
from gan.reports.comparison import Spread, compare
from gan.reports.curves import Curve, draw
from gan.reports.groups import differences, flat_settings, shortened
from gan.reports.page import page
from gan.reports.table import as_csv, markdown, table
from gan.runs.records import read_run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def grid(tmp_path):
    """Two norms, two seeds."""
    write_run(tmp_path / "a-seed0" / "version_0", {0: 100.0, 10: 4.0, 20: 6.0}, seed=0)
    write_run(tmp_path / "a-seed1" / "version_0", {0: 100.0, 10: 8.0, 20: 8.0}, seed=1)
    write_run(tmp_path / "b-seed0" / "version_0", {0: 100.0, 20: 3.0}, seed=0, norm="Conv")
    return tmp_path


def test_runs_that_differ_in_the_seed_alone_are_one_row(grid):
    titles, rows = table(compare([grid]))
    expected = ["run", "discriminator_norms", "seeds", "steps", "fd_digits ↓ last", "best", "steps/s", "peak GiB"]
    assert titles == expected
    assert rows == [
        ["a", "[Batch]", "0, 1", "20", "7.0 ± 1.4", "6.0 ± 2.8", "2", "1.5"],  # 32 images a second, 2 * 8 a step
        ["b", "[Conv]", "0", "20", "3", "3", "2", "1.5"],
    ]


def test_csv_has_all_digits(grid):
    first, second = csv.DictReader(io.StringIO(as_csv(compare([grid]))))
    assert (first["score"], float(first["last_mean"]), float(first["last_sd"])) == ("fd_digits", 7.0, math.sqrt(2))
    assert (float(first["best_mean"]), float(first["best_sd"]), first["runs"]) == (6.0, math.sqrt(8), "2")
    assert second["model.discriminator_norms"] == "[Conv]"


def test_protocols_are_never_in_one_column(grid):
    write_run(grid / "c" / "version_0", {20: 5.0}, norm="Layer", protocol={**PROTOCOL, "samples": 2500})
    comparison = compare([grid])
    titles, rows = table(comparison)
    assert titles[4:8] == ["fd_digits [A] ↓ last", "best", "fd_digits [B] ↓ last", "best"]
    assert [row[4:8] for row in rows] == [
        ["7.0 ± 1.4", "6.0 ± 2.8", "–", "–"],
        ["3", "3", "–", "–"],
        ["–", "–", "5", "5"],
    ]
    said = "scores of different protocols cannot be compared: samples is 500 in [A], 2500 in [B]"
    assert comparison.notes == [said]
    assert said in markdown(comparison)
    assert said in page(comparison, "x")


def test_what_went_wrong_is_said_and_leaves_the_means(grid):
    write_run(grid / "a-seed2" / "version_0", {0: 100.0, 5: 1.0}, seed=2, status="diverged")
    write_run(grid / "d" / "version_0", None, norm="Group", status=None)
    comparison = compare([grid])
    _, rows = table(comparison)
    assert rows[0] == ["a", "[Batch]", "0, 1, 2", "10–20 (1 diverged)", "7.0 ± 1.4", "6.0 ± 2.8", "2", "1.5"]
    assert rows[2][4:6] == ["–", "–"]
    assert [note.removeprefix(f"{grid}/") for note in comparison.notes] == [
        "a-seed2/version_0 diverged at step 7: loss/generator is nan",
        "d/version_0 is not over: its last record is of step 10",
        f"{grid}/d/version_0 has no evaluations".removeprefix(f"{grid}/"),
    ]


def test_a_repeated_run_counts_once(grid):
    write_run(grid / "b-seed0" / "version_1", {20: 2.0}, norm="Conv")
    comparison = compare([grid])
    assert table(comparison)[1][1][4] == "2"
    assert "is left out" in comparison.notes[0]


def test_lines_that_a_kill_has_cut_are_left_out(grid):
    run = grid / "b-seed0" / "version_0"
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 30, "fd_dig')
    assert read_run(run).last_step == 20


def test_differences_are_those_of_the_configuration():
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1, "betas": [0.0, 0.9]}}
    slow = {**adam, "init_args": {**adam["init_args"], "lr": 0.2}}
    assert differences([{"a": adam, "b": 1}, {"a": slow, "b": 1}]) == [{"a.lr": "0.1"}, {"a.lr": "0.2"}]
    assert differences([{"a": adam}, {"a": None}]) == [{"a": "Adam(lr=0.1, betas=[0.0, 0.9])"}, {"a": "none"}]
    assert differences([{"a": adam}]) == [{}]
    assert shortened({"x": True}) == "{x: True}"


def test_settings_are_plain_values_under_the_keys_of_the_command_line():
    adam = {
        "class_path": "torch.optim.Adam",
        "init_args": {"lr": 0.1, "betas": [0.0, 0.9], "amsgrad": False, "foreach": None},
    }
    model = {"generator_optimizer": adam, "discriminator_norms": [{"class_path": "gan.norms.Conv"}], "compile": True}
    assert flat_settings({"seed_everything": 3, "trainer": {"max_steps": 9}, "model": model, "data": None}) == {
        "seed": "3",
        "max_steps": 9,
        "generator_optimizer": "Adam",
        "generator_optimizer.lr": 0.1,
        "generator_optimizer.betas": "[0.0, 0.9]",
        "discriminator_norms": "[Conv]",
        "compile": "True",
    }


@pytest.mark.parametrize(
    ("spread", "text"),
    [
        (Spread(231.4749, 26.24, 2), "231 ± 26"),
        (Spread(1.00366, 0.00151, 2), "1.0037 ± 0.0015"),
        (Spread(5.0, math.nan, 1), "5"),
        (Spread(5.0, 0.0, 2), "5"),
        (Spread(math.nan, math.nan, 0), ""),
    ],
)
def test_a_spread_shows_two_digits_of_its_deviation(spread, text):
    assert str(spread) == text


def test_curves_lie_where_they_should():
    drawing = draw("t", [Curve("a", 0, [[(0, 1.0), (10, 3.0)], [(0, 3.0), (10, 5.0)]])])
    assert drawing.count("<path") == 3
    assert 'd="M64.0 284.0 L616.0 148.0"' in drawing, "the first run: from the lower left to the middle right"
    assert 'd="M64.0 216.0 L616.0 80.0"' in drawing, "the mean: 2 to 4 on a scale from 1 to 5"
    assert draw("t", [Curve("a", 0, [[(0, math.nan)]])]) == ""
    gap = draw("t", [Curve("a", 0, [[(0, 1.0), (5, math.nan), (10, 3.0)]])])
    assert gap.count("M") == 2
    assert ">0.1</text>" in draw("t", [Curve("a", 0, [[(0, 0.1), (10, 100.0)]])], may_be_log=True)


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href") and value]
        assert tag not in ("script", "link", "iframe")


def test_the_page_needs_nothing_else(grid):
    (samples := grid / "b-seed0" / "version_0" / "samples").mkdir()
    Image.new("L", (4, 4)).save(samples / "step_00000020.png")
    text = page(compare([grid]), "a <b>title</b>")
    (links := _Links()).feed(text)
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert len(links.found) == 1
    assert "a &lt;b&gt;title&lt;/b&gt;" in text
    assert "<b>title" not in text
    assert "url(" not in text
    assert text.count("<svg viewBox='0 0 28 10'") == 2, "the legend"


def test_the_command_writes_what_is_asked_for(grid, monkeypatch, capsys):
    monkeypatch.chdir(grid)
    main(
        [
            "compare",
            "a-seed0",
            "a-seed1",
            "b-seed0/version_0",
            "--html",
            "r.html",
            "--csv",
            "r.csv",
            "--markdown",
            "r.md",
        ]
    )
    out = capsys.readouterr().out
    assert out == Path("r.md").read_text()
    assert "| a   | [Batch]             | 0, 1  |" in out
    assert Path("r.html").read_text().startswith("<!doctype html>")
    assert Path("r.csv").read_text().startswith("run,model.discriminator_norms,seeds")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist: give folders of runs"),
        (["empty"], "empty holds no runs: give folders of runs"),
        (["broken"], "holds no configuration"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken/version_0").mkdir(parents=True)
    Path("broken/version_0/config.yaml").write_text("[]")
    with pytest.raises(SystemExit):
        main(["compare", *arguments])
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


def test_comparing_waits_for_no_torch(grid):
    asked = (
        f"import sys; from gan.cli.main import main; main(['compare', {str(grid)!r}]); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.endswith("False\n")
