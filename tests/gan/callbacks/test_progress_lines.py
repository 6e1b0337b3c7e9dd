import time

import pytest
from pytorch_lightning import Callback
from small_trainings import fit, small_gan, together

from gan.callbacks import Progress, ProgressLines
from gan.cli import building


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


class Waits(Callback):
    """Let a training step take some seconds; score after some steps, which takes as long again."""

    def __init__(self, clock, seconds, scores_at=()):
        self.clock, self.seconds, self.scores_at = clock, seconds, scores_at

    def on_train_batch_start(self, trainer, *_):
        self.clock.now += self.seconds

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step in self.scores_at:
            bar = trainer.progress_bar_callback
            bar.evaluation_progress(1, 2)
            self.clock.now += 1000.0
            bar.evaluation_progress(2, 2)
            module.publish({"fd_digits": 3.25})


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def lines(capsys, kind="step"):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(kind)]


def train(steps, *callbacks):
    fit(small_gan(), steps, [ProgressLines(), *callbacks], enable_progress_bar=True)


def test_lines_come_at_growing_intervals_and_at_the_end(clock, capsys):
    train(9, Waits(clock, 10.0))
    steps = [int(line.split()[1]) for line in lines(capsys)]
    assert steps == [1, 3, 7, 9], "the first and the last, and after 10 (the first), 30 and 70 seconds"


def test_intervals_stop_growing(clock, capsys):
    train(9, Waits(clock, 150.0))
    steps = [int(line.split()[1]) for line in lines(capsys)]
    assert steps == [1, 2, 3, 4, 6, 8, 9], "300 seconds at most"


def test_a_line_says_step_losses_speed_and_time_left(clock, capsys):
    train(4, Waits(clock, 20.0))  # 8 images in 20 seconds
    first, second, *_, last = lines(capsys)
    assert first.startswith("step 1 of 4  D ")
    assert "left" not in first
    assert second.split("  ")[3:] == ["0.4 images/s", "40 s left"]
    assert last.startswith("step 4 of 4  D ")
    assert last.endswith("  0.4 images/s")


def test_scores_stay_in_the_lines_and_their_time_does_not_count(clock, capsys):
    train(3, Waits(clock, 20.0, scores_at=[2]))
    _, second, third = lines(capsys)
    assert second.endswith("20 s left")
    assert third.endswith("0.4 images/s  fd_digits 3.25 (step 2)")


def test_a_long_evaluation_says_how_far_it_is(clock, capsys):
    lines_ = ProgressLines()
    for done in range(0, 1001, 100):
        lines_.evaluation_progress(done, 1000)
        clock.now += 4.0
    assert lines(capsys, "evaluation") == [f"evaluation: {done} of 1,000 images" for done in (300, 800)], (
        "after 12 seconds, and 20 later"
    )


def test_two_processes_print_one_line(capfd):
    def run():
        lines_ = ProgressLines()
        fit(small_gan(), 2, [lines_], enable_progress_bar=True, processes=2)

    assert together(run) == [0, 0]
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.split()[1] for line in printed] == ["1", "2"]
    assert printed[1].split("  ")[3:] == printed[1].split("  ")[3:4], "no time left at the end"


@pytest.mark.parametrize(("terminal", "kind"), [(True, Progress), (False, ProgressLines)])
def test_only_a_terminal_gets_a_bar(terminal, kind, monkeypatch):
    monkeypatch.setattr(building.sys, "stdout", type("Output", (), {"isatty": lambda self: terminal})())
    assert isinstance(building.progress(), kind)
