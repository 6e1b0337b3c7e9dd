"""The table: what is in it, what is written, and that it stops and can be asked for again."""

import csv
import json
import sys

import numpy as np
import pytest
import torch

from gan.data import Digits
from gan.runs.folder import METRICS
from robustness.attacks import FGSM, PGD
from robustness.cli.main import main
from robustness.corruptions import Brightness, Saturate, ZoomBlur
from robustness.corruptions.published import PublishedImages
from robustness.evaluation import Evaluation
from robustness.measurement import Images, Meter
from robustness.table import Row, Table
from robustness.trials import as_they_are, of_attacks, of_published

TWO = "--evaluation.corruptions=[robustness.corruptions.Brightness, robustness.corruptions.GaussianNoise]"
SMALL = [
    *(
        "--config",
        "robustness/digits",
        "--trainer.max_steps=2",
        "--model.network.widths=[4, 8]",
        "--data.num_images=60",
    ),
    *("--data.batch_size=8", "--evaluation.num_corrupted=10", "--evaluation.num_attacked=10", TWO),
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
    *("--evaluation.every_n_steps=2", "--evaluation.attacks=[FGSM]", "--model.norms=[]"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["robustness"])
        main(["fit", *SMALL, f"--trainer.default_root_dir={root}"])
    return root / "digits_classifier" / "version_0"


def lines(run):
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


@pytest.mark.filterwarnings("ignore:the configuration is not the checkpoint's")
def test_images_that_the_network_has_learned_from_are_not_tested_as_held_back(trained, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["robustness"])
    checkpoint = max((trained / "checkpoints").iterdir())
    before = (trained / "robustness.json").read_bytes()
    with pytest.raises(SystemExit):
        main(["test", *SMALL, f"--ckpt_path={checkpoint}", "--seed_everything=3"])
    error = capsys.readouterr().err
    assert "has seen what is held back now (0.3 of each class, seed 3, of 60 by subset_seed 0)" in error
    assert "held back then: 0.3 of each class, seed 0, of 60 by subset_seed 0" in error
    assert (trained / "robustness.json").read_bytes() == before
    with pytest.raises(SystemExit):
        main(["fit", "--resume", str(trained), "--trainer.max_steps=4", "--model.validation=0.2"])
    assert "(0.2 of each class, seed 0" in capsys.readouterr().err


def test_what_cannot_be_damaged_is_said_before_the_first_step():
    wide = Digits(batch_size=8)
    wide.image_size = 32, 48
    plan = Evaluation(corruptions=[Brightness(), ZoomBlur()]).plan
    with pytest.raises(ValueError, match="zoom_blur cannot damage images of 1 channels and 32x48 pixels"):
        plan.check(wide)
    Evaluation(corruptions=[Brightness()]).plan.check(wide)
    with pytest.raises(ValueError, match="saturate cannot damage images of 1 channels"):
        Evaluation(corruptions=[Saturate()]).plan.check(Digits(batch_size=8))


def test_results_of_one_name_are_refused():
    assert PGD(step_size=0.5).name == "pgd20_step0.5"
    Evaluation(attacks=[PGD(), PGD(step_size=0.5)])
    with pytest.raises(ValueError, match=r"evaluation.attacks: pgd20 stands there twice"):
        Evaluation(attacks=[PGD(), PGD()])


def test_fit_ends_with_a_table_in_the_run(trained):
    table = json.loads((trained / "robustness.json").read_text())
    assert [row["kind"] for row in table["rows"]] == ["clean"] + ["corruption"] * 10 + ["attack"]
    assert table["step"] == 2
    rows = list(csv.DictReader((trained / "robustness.csv").open()))
    assert float(rows[0]["value"]) == table["scores"]["accuracy"]
    assert sum(row["kind"] == "operator_norm" for row in rows) == 7
    (scored,) = (line for line in lines(trained) if "protocol" in line)
    assert {name: scored[name] for name in table["scores"]} == table["scores"]
    assert scored["protocol"]["split"] == "digits/validation (0.3 of each class, seed 0)"
    assert any("accuracy/validation" in line for line in lines(trained))
    assert json.loads((trained / "outcome.json").read_text())["status"] == "finished"


def test_test_gives_the_same_table(trained, capsys):
    before = (trained / "robustness.json").read_text()
    main(["test", str(trained), "--trainer.enable_progress_bar=false"])
    assert (trained / "robustness.json").read_text() == before
    out = capsys.readouterr().out
    assert "mean error" in out
    assert "fgsm" in out
    assert len([line for line in lines(trained) if "protocol" in line]) == 2


def test_attacks_can_be_made_for_another_network(trained, capsys):
    main(["test", str(trained), f"--evaluation.transfer_from={trained}", "--trainer.enable_progress_bar=false"])
    scores = json.loads((trained / "robustness.json").read_text())["scores"]
    assert scores["accuracy_transfer_fgsm"] == scores["accuracy_fgsm"], "the other network is the same one"


def test_another_network_must_know_the_same_classes(trained):
    message = rf"transfer_from {trained} knows the classes 0, 1, 2, 3, …; the data have cat, dog"
    with pytest.raises(ValueError, match=message):
        Evaluation(transfer_from=str(trained)).plan.other_network(("cat", "dog"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", *SMALL, "--model.network=ResNet21"], "known are ResNet18, ResNet20"),
        (["fit", *SMALL, "--model.norms=[Konv]"], "known are "),
        (["fit", *SMALL, "--evaluation.attacks=[FGSN]"], "known are FGSM, MarginPGD, PGD"),
        (["fit", *SMALL, "--evaluation.split=tset"], "split must be validation or one of train, got 'tset'"),
        (["fit", *SMALL, "--evaluation.cifar10_c=."], "cifar10_c must be a folder with labels.npy"),
        (["test", *SMALL], "test needs --ckpt_path"),
        (["validate"], "there is no command 'validate'; known are fit, test, compare, study"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def meter(**arguments):
    """A classifier that calls an image bright (1) or dark (0)."""

    def logits(x):
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)

    return Meter(logits, lambda x: x.float() / 255, torch.device("cpu"), 7, **arguments)


def test_right_answers_are_counted():
    source = Digits(num_images=50).loaded("train")
    bright = source.load().float().mean((1, 2, 3)) > 127.5
    expected = 100 * (source.labels == bright.long()).double().mean()
    done = []
    counted = meter(report=done.append)
    assert counted.accuracy(Images.choose(source, None), as_they_are) == pytest.approx(float(expected))
    assert sum(done) == 50
    chosen = Images.choose(source, 20)
    assert source.labels[chosen.indices].bincount().tolist() == [2] * 10, "the same share of each class"
    darker = source.relabelled(torch.zeros(50, dtype=torch.long))
    assert counted.accuracy(Images.choose(darker, None), as_they_are) == 100
    (attacked,) = of_attacks([PGD(epsilon=255, step_size=20)], Images.choose(darker, None))
    assert attacked.row(counted) == Row("attack", "pgd20_eps255_step20", "", 0, 50, 0.0)
    size = 32 * 32
    assert counted.gradient_norm(Images.choose(darker, 5)) < 2 / size**0.5


def test_means_leave_the_extra_corruptions_out():
    kinds = [(each.name, each.group) for each in (Brightness(), Saturate())]
    rows = [
        Row("corruption", name, group, severity, 10, 10.0 * severity if group else 0.0)
        for name, group in kinds
        for severity in range(1, 6)
    ]
    table = Table(1, {}, [Row("clean", "clean", "", 0, 10, 90.0), *rows], 0.5, {"a": 1.0, "b": 3.0})
    assert table.scores() == {
        "accuracy": 90,
        "accuracy_corrupted": 30,
        "accuracy_weather": 30,
        "gradient_norm": 0.5,
        "operator_norm_median": 2,
        "operator_norm_largest": 3,
    }
    assert "mean error 70.00 %" in str(table)


def test_the_published_files_are_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "labels.npy", np.array([1, 0] * 5, dtype=np.uint8))
    published = PublishedImages(str(tmp_path))
    assert published.names == ["fog"]
    source = published.source("fog", 2)
    assert source.labels.tolist() == [1, 0]
    assert torch.equal(source[1], torch.from_numpy(images[3]).permute(2, 0, 1))
    trials = of_published(published, None)
    assert [(each.name, each.group, each.severity) for each in trials] == [("fog", "weather", n) for n in range(1, 6)]
    bright = torch.from_numpy(images[2:4]).double().mean((1, 2, 3)) > 127.5
    expected = 100 * (bright.long() == torch.tensor([1, 0])).double().mean()
    assert trials[1].row(meter()).accuracy == expected
    np.save(tmp_path / "snow.npy", images[:5])
    with pytest.raises(ValueError, match=r"snow.npy must be uint8 \(10, 32, 32, 3\)"):
        PublishedImages(str(tmp_path))


def test_an_attack_is_named_by_its_distance():
    assert [attack.name for attack in (FGSM(), PGD(), PGD(epsilon=1.0, steps=5, restarts=2))] == [
        "fgsm",
        "pgd20",
        "pgd5x2_eps1_step2",
    ]
