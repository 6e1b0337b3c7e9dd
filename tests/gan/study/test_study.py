import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from gan.cli.main import main
from gan.runs.outcome import Outcome, read_outcome, write_outcome
from gan.study.description import read_study, with_values
from gan.study.progress import arguments_of, chosen_setting, necessary_cells, state_of

ROOT = Path(__file__).parents[3]
TEXT = """
study: norms
config: [quickstart, metrics/none]
set: {trainer.max_steps: 4, model.generator.width: 4, model.discriminator.width: 4, data.batch_size: 8,
      trainer.accelerator: cpu}
grid:
  norm:
    batch: {model.discriminator_norms: [Batch]}
    conv: {model.discriminator_norms: [Conv]}
  model.discriminator_steps: [1, 2]
seeds: [0, 1]
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The file of a study, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("norms.yaml").write_text(TEXT)
    return Path("norms.yaml")


def end(folder: str, step: int = 4, status: str = "finished", score: float | None = None) -> None:
    """Let there be a run that has ended."""
    (run := Path("runs", folder, "version_0")).mkdir(parents=True)
    (run / "config.yaml").write_text("a: 1")
    write_outcome(run, Outcome(status, step))
    if score is not None:
        line = {"step": step, "fd_digits": score, "protocol": {"samples": 5}}
        (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")


def test_the_cells_are_the_product_of_the_axes_and_the_seeds(study):
    cells = list(necessary_cells(read_study(study)))
    names = [f"norms/{norm}-{steps}-seed{seed}" for norm in ("batch", "conv") for steps in (1, 2) for seed in (0, 1)]
    assert [cell.experiment for cell in cells] == names
    assert cells[-1].values["model.discriminator_steps"] == 2
    assert cells[-1].values["seed_everything"] == 1


def test_a_cell_is_begun_continued_and_over(study):
    described = read_study(study)
    cell = next(necessary_cells(described))
    arguments = arguments_of(described, cell)
    assert arguments[:6] == [
        "fit",
        "--config",
        "quickstart",
        "--config",
        "metrics/none",
        "--experiment=norms/batch-1-seed0",
    ]
    assert "--model.discriminator_norms=[Batch]" in arguments
    (checkpoints := Path("runs/norms/batch-1-seed0/version_0/checkpoints")).mkdir(parents=True)
    (checkpoints / "step_00000002.ckpt").touch()
    assert arguments_of(described, cell)[:3] == ["fit", "--resume", "runs/norms/batch-1-seed0/version_0"]
    assert not state_of(described, cell).over
    write_outcome(checkpoints.parent, Outcome("finished", 3))
    assert not state_of(described, cell).over, "the study asks for more steps by now"
    for status in "finished", "diverged", "stopped":
        write_outcome(checkpoints.parent, Outcome(status, 4))
        assert state_of(described, cell).over


TUNING = "tuning: {seed: 9, metric: fd_digits, settings: {slow: {model.decay.end: 8}, fast: {model.decay.end: 9}}}"


def test_a_setting_is_chosen_on_a_seed_of_its_own(study):
    study.write_text(TEXT + TUNING)
    described = read_study(study)
    names = [cell.experiment for cell in necessary_cells(described)]
    assert len(names) == 8
    assert names[0] == "norms/tuning/batch-1-slow-seed9"
    end("norms/tuning/batch-1-slow-seed9", score=3.0)
    assert chosen_setting(described, "batch-1") is None
    end("norms/tuning/batch-1-fast-seed9", score=2.0)
    assert chosen_setting(described, "batch-1") == "fast"
    more = [cell for cell in necessary_cells(described) if cell.experiment not in names]
    assert [cell.experiment for cell in more] == ["norms/batch-1-seed0", "norms/batch-1-seed1"]
    assert more[0].values["model.decay.end"] == 9
    end("norms/tuning/conv-1-slow-seed9")
    end("norms/tuning/conv-1-fast-seed9", status="diverged")
    with pytest.raises(ValueError, match=r"tuning\.metric: no run of conv-1 has a value of fd_digits"):
        chosen_setting(described, "conv-1")


def test_settings_of_single_cells_and_values_of_tuning_alone(study):
    more = "tuning: {seed: 9, metric: fd_digits, set: {trainer.max_steps: 2}, settings: {one: {model.decay.end: 8}}, "
    study.write_text(TEXT + more + "settings_of: {conv-2: {two: {model.decay.end: 9}}}}")
    described = read_study(study)
    names = [cell.experiment for cell in necessary_cells(described)]
    assert [name for name in names if "two" in name] == ["norms/tuning/conv-2-two-seed9"]
    assert len(names) == 5
    assert described.tuning_cells("conv-2")["two"].values["trainer.max_steps"] == 2
    reported = described.reported_cells("conv-2", "two")[0]
    assert (reported.values["trainer.max_steps"], reported.values["model.decay.end"]) == (4, 9)


def test_a_diverged_run_is_not_chosen(study):
    study.write_text(TEXT + TUNING)
    described = read_study(study)
    end("norms/tuning/batch-1-slow-seed9", score=3.0)
    end("norms/tuning/batch-1-fast-seed9", score=2.0, status="diverged")
    assert chosen_setting(described, "batch-1") == "slow"
    for setting in "slow", "fast":
        end(f"norms/tuning/conv-1-{setting}-seed9", score=2.0, status="diverged")
    assert chosen_setting(described, "conv-1") is None
    assert not any("norms/conv-1" in cell.experiment for cell in necessary_cells(described))


def test_values_can_be_set_for_all_cells(study):
    described = with_values(read_study(study), ["data.root=a=b.zip", "trainer.max_steps=7"])
    for cell in necessary_cells(described):
        assert (cell.values["data.root"], cell.values["trainer.max_steps"]) == ("a=b.zip", 7)
    for assignment, message in [
        ("data.root", "expects KEY=VALUE"),
        ("model.discriminator_norms=[]", "set by the grid of norms.yaml"),
        ("experiment=x", "--set: experiment is for the study to set"),
    ]:
        with pytest.raises(ValueError, match=message):
            with_values(read_study(study), [assignment])


ERRORS = [
    ("seeds: [0, 1]", "seedz: [0, 1]", "seedz is no key of a study; known are study, program, config, root, set, grid"),
    ("seeds: [0, 1]", "seeds: [0, 0]", "seeds: one stands twice"),
    ("seeds: [0, 1]", "seeds: []", "seeds must be a list of whole numbers"),
    ("seeds: [0, 1]", "", "seeds missing"),
    ("[Conv]", "[Batch]", "the cell conv-1 stands twice, also as batch-1"),
    ("[1, 2]", "[1, 1]", "grid.model.discriminator_steps: 1 stands twice"),
    ("conv:", "'a b':", "grid.norm: a label is of letters, digits, _ . + -, got 'a b'"),
    ("[1, 2]", "1", "grid.model.discriminator_steps must be a list of values of this key"),
    ("{model.discriminator_norms: [Conv]}", "{model.discriminator_steps: 1}", "is set by another axis too"),
    ("trainer.max_steps: 4", "experiment: x", "set: experiment is for the study to set"),
    ("study: norms", "study: a/b", "study must be a name of letters"),
    ("study: norms", "study: [", "is no YAML"),
    ("study: norms", "tuning: {seed: 1, metric: x, settings: {}}", "tuning.seed must be a number that is not among"),
    ("study: norms", "tuning: {seed: 7}", "tuning: metric, settings missing"),
    ("study: norms", TUNING[:-1] + ", settings_of: {konv-1: {}}}", "konv-1 is no key of a study; known are batch-1"),
    ("study: norms", TUNING[:-1] + ", settings_of: {conv-1: {slow: {}}}}", "slow stands in tuning.settings too"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), ERRORS, ids=[error[1] or "missing" for error in ERRORS])
def test_a_mistake_is_one_line_before_anything_runs(study, capsys, old, new, message):
    study.write_text(TEXT.replace(old, new))
    with pytest.raises(SystemExit) as exit_:
        main(["study", "norms.yaml", "run"])
    assert exit_.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: norms.yaml")
    assert said.count("\n") == 1
    assert message in said
    assert not Path("runs").exists()


def test_an_option_that_is_none_is_named_with_its_cell(study, capsys):
    study.write_text(TEXT.replace("[Conv]", "[Cnov]"))
    with pytest.raises(SystemExit) as exit_:
        main(["study", "norms.yaml", "plan"])
    assert exit_.value.code == 2
    said, where = capsys.readouterr().err.splitlines()
    assert "there is no class 'Cnov' here" in said
    assert where == "  in norms.yaml, cell norms/conv-1-seed0"


def test_the_plan_is_what_is_not_over(study, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gan"])
    end("norms/batch-1-seed0")
    main(["study", "norms.yaml", "plan"])
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 7
    assert captured.out.startswith(
        "gan fit --config quickstart --config metrics/none --experiment=norms/batch-1-seed1 "
    )
    assert captured.err == "# 7 of 8 cells\n"


def test_an_unknown_study_names_the_shipped_ones(study, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gan"])
    with pytest.raises(SystemExit):
        main(["study", "digtis", "plan"])
    assert "; did you mean digits?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["study", "norms.yaml", "report"])
    assert capsys.readouterr().err == "error: no cell of norms has begun: gan study norms.yaml run\n"


def gan(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gan", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_study_goes_on_and_shows_what_failed(study, capsys):
    content = yaml.safe_load(TEXT)
    content["set"]["trainer.max_steps"] = 300
    content["grid"] = {"norm": {"batch": {"model.discriminator_norms": ["Batch"]}}}
    content["grid"]["norm"]["bad"] = {"data": "Folder", "data.root": "nowhere"}
    content["grid"]["norm"]["wild"] = {"model.generator_optimizer.lr": 1e30}
    content["seeds"] = [0]
    study.write_text(yaml.safe_dump(content))
    first = gan("study", "norms.yaml", "run", "-j", "1")
    run = Path("runs/norms/batch-seed0/version_0")
    metrics = run / "metrics.jsonl"
    while first.poll() is None and not (metrics.exists() and '"step": 25,' in metrics.read_text()):
        time.sleep(0.1)  # before its first step a training has nothing to save
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM
    assert read_outcome(run) is None
    assert not Path("runs/norms/wild-seed0").exists()  # what has not begun leaves nothing
    second = gan("study", "norms.yaml", "run", "-j", "2")
    out, err = second.communicate()
    assert second.returncode == 1
    assert "norms/batch-seed0: goes on\n" in out
    assert "2 of 3 cells are over" in out
    assert "norms/bad-seed0: failed: root 'nowhere' does not exist" in err
    assert read_outcome(run) == Outcome("finished", 300)
    wild = read_outcome(Path("runs/norms/wild-seed0/version_0"))
    assert wild is not None
    assert wild.status == "diverged"
