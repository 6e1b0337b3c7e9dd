"""The benchmark of a GPU runs, small and on the CPU."""

import time
from argparse import Namespace

import pytest
import torch

from benchmarks.gpu.__main__ import Task, spawn
from benchmarks.gpu.report import report
from benchmarks.gpu.stage import Stage, read, write
from benchmarks.gpu.updates import FORMS, forced
from benchmarks.traffic import Traffic
from convnorm import ConvNorm


def stage(out, name, part=None):
    return Stage(name, part, out, torch.device("cpu"), True, time.time(), time.time() + 60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:model.cuda_graphs")  # there is no GPU
def test_every_stage_writes_lines_and_tables(tmp_path):
    from benchmarks.gpu import environment, exactness, suite, trainings, updates

    environment.environment(stage(tmp_path, "environment"))
    trainings.training(stage(tmp_path, "training"))
    exactness.exactness(stage(tmp_path, "exactness"))
    updates.layers(stage(tmp_path, "layers"))
    updates.steps(stage(tmp_path, "steps"))
    trainings.resume(stage(tmp_path, "resume"))
    suite.classifiers(stage(tmp_path, "classifiers"))
    lines = read(tmp_path)
    assert not [line for line in lines if "error" in line]
    assert all(line["output"] < 1e-5 for line in lines if line.get("precision") == "fp32" and "output" in line)
    assert [line["unequal"] for line in lines if line["stage"] == "resume"] == [
        {"second": 0, "continued": 0, "graphs": 0, "graphs, continued": 0}
    ]
    assert [(line["rc"], 0 <= line["accuracy"] <= 100) for line in lines if line["stage"] == "classifiers"] == [
        (0, True)
    ]
    tables = report(tmp_path)
    assert tables.count("\n## ") == 6
    assert "| DCGAN | bf16 | ConvNorm | " in tables


def test_an_error_is_a_line_and_the_next_case_runs(tmp_path):
    def fail(number):
        raise ValueError(f"{number} is wrong")

    made = stage(tmp_path, "steps")
    made.measure({"case": 1}, fail, 7)
    made.measure({"variant": "plain", "form": None}, dict, [("ms", 3.0), ("network", "DCGAN"), ("precision", "bf16")])
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"stage": "ste')  # killed while it wrote
    first, second = read(tmp_path)
    assert (first["case"], first["error"]) == (1, "ValueError: 7 is wrong")
    assert (second["stage"], second["ms"]) == ("steps", 3.0)
    assert "ValueError: 7 is wrong" in report(tmp_path)


def test_the_report_relates_updates_to_batch_norm(tmp_path):
    for variant, graph in ("BatchNorm", 2.0), ("ConvNorm", 3.0):
        line = {"stage": "steps", "network": "DCGAN", "variant": variant, "form": None, "precision": "bf16", "ms": 9.0}
        write(
            tmp_path, {**line, "graph_ms": graph, "kernel_ms": 1.0, "launches": 10, "moved_MB": 7, "peak_MiB": 5}, 0.0
        )
    assert "| DCGAN | bf16 | ConvNorm | 9.0 | 3.0 | 1.0 | 10 | 7 | 5 | 1.50 |" in report(tmp_path)


def test_what_operations_read_and_write_is_counted():
    x, y = torch.zeros(3, 4), torch.zeros(4, dtype=torch.float64)
    with Traffic() as traffic:
        assert x.view(2, 6).T.shape == torch.empty(6, 2).shape
    assert traffic.bytes == 0
    with Traffic() as traffic:
        x + y  # 48 + 32 bytes, and 96 in float64
        x.add_(1)  # read and written
    assert traffic.bytes == 48 + 32 + 96 + 2 * 48


def test_a_stage_without_time_is_not_started(tmp_path):
    arguments = Namespace(out=tmp_path, device=torch.device("cpu"), budget=60, since=time.time() - 58)
    spawn(Task("steps", 60), arguments, beside=False)
    assert [(line["what"], line["rc"]) for line in read(tmp_path)] == [("steps", "no time left")]


@pytest.mark.parametrize("form", FORMS[:3])
def test_forms_can_be_forced(form):
    norm, x = ConvNorm(torch.nn.Conv2d(3, 8, 3)), torch.randn(4, 3, 8, 8)
    expected = norm(x)
    with forced(form) as used:
        torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)
    assert used == {form}
