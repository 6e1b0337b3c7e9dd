"""The command line as users call it, in this process."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from small_trainings import forked, limit_files, together

import gan
from gan.callbacks import SampleGrid
from gan.cli import command, training
from gan.cli.main import main
from gan.data import Digits, Folder
from gan.module import GAN
from gan.runs.folder import checkpoints
from gan.runs.logger import run_folder

ROOT = Path(__file__).parents[3]
QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")
NONE = str(ROOT / "configs" / "metrics" / "none.yaml")
SMALL = [
    "--model.generator.width=4",
    "--model.discriminator.width=4",
    "--data.batch_size=8",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Run train.py with some arguments, below a temporary root; return that root."""

    def run(*arguments: str) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # not pytest's
        main()
        return tmp_path / "runs"

    return run


def small(*arguments: str) -> list[str]:
    return ["fit", "--config", QUICKSTART, "--config", NONE, *SMALL, *arguments]


ERRORS = [
    (["--model.nonsense=1"], "unrecognized arguments: --model.nonsense=1"),
    (["--trainer.max_epoch=3"], "unrecognized arguments: --trainer.max_epoch=3; did you mean --trainer.max_epochs?"),
    (["--model.generator.widht=3"], "model.generator: Option 'widht' is not accepted; known are image_size, channels"),
    (["--metrics.collapse.facto=3"], "metrics.collapse: Option 'facto' is not accepted; known are metric, factor"),
    (["--model.generator_optimizer.lrr=3"], "model.generator_optimizer: Option 'lrr' is not accepted; known are lr,"),
    (
        ["--trainer.callbacks=[{class_path: gan.callbacks.EMA, init_args: {half_life: 5}}]"],
        "trainer.callbacks: Option 'half_life' is not accepted; known are half_life_images",
    ),
    (["--model.generator.width=x"], "model.generator.width: expected int, got x"),
    (["--model.discriminator_norms=Spectral"], "expected list, got Spectral (a list is written [a,b])"),
    (["--model.discriminator_norms=[spectral]"], "and yours by module.Class; did you mean Spectral?"),
    (["--model.discriminator_steps=0"], "discriminator_steps must be at least 1, got 0"),
    (["--model.discriminator_steps=1.5"], "model.discriminator_steps: expected int, got 1.5"),
    (
        ["--model.discriminator_norms=[Spectrl]"],
        "model.discriminator_norms: there is no class 'Spectrl' here; known are",
    ),
    (["--model.generator.width=0"], "generator: its widths must be at least 1, but project.weight is empty"),
    (
        ["--model.loss=Hinges"],
        "known are Hinge, LeastSquares, NonSaturating, Relativistic, Wasserstein, and yours by module.Class",
    ),
    (
        ["--model.discriminator_norms=[{class_path: Group, init_args: {groups: 7}}]"],
        "7 groups do not divide 8 channels",
    ),
    (["--model.decay.end=0"], "decay: start must be at least 0 and below end, got 0 and 0"),
    (["--data=gan.data.CIFR10"], "data: there is no class 'gan.data.CIFR10'; known are CIFAR10, CIFAR100, CelebA"),
    (["--data.batch_size=many"], "data.batch_size: expected int, got many"),
    (["--data.batch_size=0"], "batch_size must be at least 1, got 0"),
    (["--data=gan.data.Folder", "--data.root=/nowhere"], "root '/nowhere' does not exist; a folder or a zip"),
    (["--config=/nowhere.yaml"], "--config: no file /nowhere.yaml, and no configuration of that name among "),
    (["--ckpt_path=/nowhere.ckpt"], "there is no run or checkpoint /nowhere.ckpt"),
    (["--ckpt_path=last", "--experiment=other"], "no run in runs/other: nothing to continue"),
    (["--trainer.max_steps=0"], "trainer.max_steps must be at least 1, got 0"),
    (["--trainer.max_steps=-5"], "`max_steps` must be a non-negative integer or -1 (infinite steps). You passed in -5"),
    (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches must not be 0: nothing would be trained"),
    (["--trainer.max_epochs=0"], "trainer.max_epochs must not be 0: nothing would be trained"),
    (["--trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch must be at least 1, or null, got 0"),
    (["--model.generator_optimizer.lr=-1"], "generator_optimizer: Invalid learning rate: -1"),
    (
        ["--model.discriminator_optimizer.fused=true", "--model.discriminator_optimizer.foreach=true"],
        "discriminator_optimizer: `fused` and `foreach` cannot be `True` together",
    ),
    (
        ["--model.decay.end=3", "--trainer.max_steps=4"],
        "model.decay.end: the learning rates are 0 from generator step 3",
    ),
    (["--data=Folder"], "data: the following arguments are required: root"),
    (
        ["--trainer.overfit_batches=2"],
        "trainer.overfit_batches must be 0, got 2: to train on fewer images, use fewer",
    ),
    (["--experiment="], "experiment must be a name, got ''"),
    (["--trainer.default_root_dir=null"], "trainer.default_root_dir must be a folder, got null"),
    (["--trainer.logger=false"], "trainer.enable_checkpointing=false trains without"),
    (["--model.generator_norms=null"], "model.generator_norms: expected list, got None"),
    (["--trainer.precision=17"], "trainer.precision: expected 64, 32, 16 or"),
    (["--seed_everything=-3"], "seed_everything must be a number between 0 and 4294967295, got -3"),
    (
        ["--metrics=gan.callbacks.Evaluation", "--metrics.features=gan.metrics.Nope"],
        "metrics.features: there is no class 'gan.metrics.Nope'; known are BFloat16, DigitsClassifier, InceptionV3,",
    ),
    (
        ["--metrics=gan.callbacks.Evaluation", "--metrics.scores=[Nope]"],
        "metrics.scores: there is no class 'Nope' here, got ['Nope']; known are DensityCoverage, Frechet, InceptionSc",
    ),
    (["--trainer.callbacks=[Nope]"], "trainer.callbacks: there is no class 'Nope' here or expected a Callback"),
    (["--model.loss.nonsense=3"], "model.loss: Option 'nonsense' is not accepted; there are none"),
    (
        ["--data=gan.data.MNIST", "--data.image_size=30"],
        "got 30; the nearest that work are 28 or 32",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "message"), ERRORS, ids=lambda value: value[-1] if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line_and_a_code(train, capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        train(*small("--trainer.max_steps=1", *arguments))
    assert exit_.value.code in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    left = [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith("version_")]
    assert not left, "nothing is left behind"


def test_a_wrong_key_in_a_file_is_named(train, capsys, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("model:\n  generator_nroms: [Batch]\n")
    with pytest.raises(SystemExit):
        train(*small("--config", str(wrong)))
    assert "generator_nroms" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model: {", "is no YAML: while parsing a flow"),
        (b"\xff\xfe", "is no YAML: 'utf-8' codec"),
        (b"", "holds no options"),
        (b"quickstart", "holds no options"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(train, capsys, tmp_path, content, reason):
    (tmp_path / "wrong.yaml").write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        train(*small("--config", "wrong.yaml"))
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --config wrong.yaml {reason}")


@pytest.mark.parametrize("saving", [[], ["--trainer.enable_checkpointing=false"]])
def test_what_a_run_draws_does_not_become_an_image_of_its_data(train, tmp_path, saving):
    for pet in "cat", "dog":
        (tmp_path / pet).mkdir()
        Image.new("L", (32, 32)).save(tmp_path / pet / "1.png")
    data = ["--data=gan.data.Folder", "--data.root=.", "--data.image_size=32", "--data.channels=1"]
    runs = train(*small(*data, "--trainer.max_steps=1", *saving))
    drawn = list(runs.rglob("*.png"))
    assert drawn
    assert Folder(str(tmp_path), 32, 1).num_images("train") == 2
    assert Folder(str(runs / "quickstart" / "version_0"), 32, 1).num_images("train") == len(drawn), "if asked for"
    if not saving:
        train(*small(*data, "--trainer.max_steps=1", "--ckpt_path=last"))  # with a warning, were its data others now


def test_an_unreadable_image_is_named(train, capsys, tmp_path):
    for number in range(3):
        Image.new("L", (32, 32)).save(tmp_path / f"{number}.png")
    (tmp_path / "images").mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "images" / "whole.png")
    (tmp_path / "images" / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    data = ["--data=gan.data.Folder", f"--data.root={tmp_path / 'images'}", "--data.image_size=32", "--data.channels=1"]
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=1", *data))
    assert "cut.png" in capsys.readouterr().err.strip().splitlines()[-1]


def test_images_that_are_not_for_training_are_not_trained_on(train, capsys, tmp_path):
    for split in "val", "test":
        (tmp_path / "images" / split).mkdir(parents=True)
        Image.new("L", (32, 32)).save(tmp_path / "images" / split / "a.png")
    with pytest.raises(SystemExit):
        train(*small("--data=gan.data.Folder", "--data.root=images", "--data.image_size=32", "--data.channels=1"))
    assert capsys.readouterr().err == "error: images has no split train to learn from, only val, test\n"


def test_norms_by_name_from_the_command_line(train):
    runs = train(*small("--trainer.max_steps=2", "--model.discriminator_norms=[Conv,Spectral]"))
    module = gan.load(runs / "quickstart" / "version_0")
    assert [norm["class_path"] for norm in module.description["discriminator_norms"]] == [
        "gan.norms.Conv",
        "gan.norms.Spectral",
    ]
    assert hasattr(module.discriminator.head.linear, "parametrizations")


def test_a_run_leaves_all_that_is_promised_and_its_config_repeats_it(train):
    runs = train(*small("--trainer.max_steps=4", "--seed_everything=3"))
    run = runs / "quickstart" / "version_0"
    names = {path.name.split(".tfevents")[0] for path in run.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "events.out", "checkpoints", "samples", "outcome.json"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed_everything"] == 3
    train("fit", "--config", str(run / "config.yaml"))
    states = [torch.load(checkpoints(runs / "quickstart" / f"version_{k}")[4], weights_only=True) for k in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(*(s["state_dict"].values() for s in states), strict=True))


@pytest.mark.parametrize(("asked", "saved"), [("null", "64-true"), ("bf16-mixed", "bf16-mixed")])
def test_what_is_left_open_of_the_machine_is_found_out_and_saved(asked, saved, train, monkeypatch):
    monkeypatch.setattr(training, "fastest_precision", lambda accelerator: {"cpu": "64-true"}[accelerator])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    left_open = "--trainer.accelerator=auto", f"--trainer.precision={asked}"
    run = train(*small("--trainer.max_steps=1", *left_open)) / "quickstart" / "version_0"
    trainer = yaml.safe_load((run / "config.yaml").read_text())["trainer"]
    assert (trainer["accelerator"], trainer["precision"]) == ("cpu", saved)
    weights = torch.load(checkpoints(run)[1], weights_only=True)["state_dict"]["generator.project.weight"]
    assert (weights.dtype == torch.float64) == (saved == "64-true")


def test_last_continues_in_the_same_folder(train):
    train(*small("--trainer.max_steps=2"))
    with pytest.warns(UserWarning, match="not the checkpoint's: trainer.max_steps was 2, is 4"):
        runs = train(*small("--trainer.max_steps=4", "--ckpt_path=last"))
    train_again = runs.parent / "again"
    train(*small("--trainer.max_steps=4", f"--trainer.default_root_dir={train_again}"))
    assert [path.name for path in (runs / "quickstart").iterdir()] == ["version_0"]
    states = [checkpoints(root / "quickstart" / "version_0")[4] for root in (runs, train_again)]
    a, b = (torch.load(path, weights_only=True) for path in states)
    assert all(torch.equal(a["state_dict"][key], b["state_dict"][key]) for key in b["state_dict"])


@pytest.mark.parametrize("given", ["checkpoints/step_00000002.ckpt", ""], ids=["file", "folder"])
def test_a_checkpoint_starts_a_new_version_and_does_not_override_the_command_line(train, given, capsys):
    runs = train(*small("--trainer.max_steps=2", "--seed_everything=7"))
    path = runs / "quickstart" / "version_0" / given
    with pytest.warns(UserWarning, match="seed was 7, is 8"):
        train(*small("--trainer.max_steps=3", f"--ckpt_path={path}", "--seed_everything=8"))
    assert (f"the newest checkpoint of {path} is " in capsys.readouterr().out) == (given == "")
    branch = runs / "quickstart" / "version_1"
    assert sorted(checkpoints(branch)) == [2, 3]
    assert gan.load(branch).seed == 8


def test_the_home_folder_is_one_place(train, monkeypatch, tmp_path):
    """Versions are counted and continued where the runs lie, whichever folder the command is given in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USED", "gan")
    there = ["--trainer.default_root_dir=~/runs", "--experiment=$USED"]
    for _ in range(2):
        train(*small("--trainer.max_steps=1", *there))
    with pytest.warns(UserWarning, match="trainer.max_steps was 1, is 2"):
        train(*small("--trainer.max_steps=2", *there, "--ckpt_path=last"))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    found = {path.name: sorted(checkpoints(path)) for path in (tmp_path / "home" / "runs" / "gan").iterdir()}
    assert found == {"version_0": [0, 1], "version_1": [1, 2]}


def test_a_changed_configuration_is_said_and_holds(train):
    """Of the optimizers too, whose settings a checkpoint brings along with their moments."""
    runs = train(*small("--trainer.max_steps=2"))
    changed = ["--trainer.max_steps=3", "--model.generator_optimizer.lr=0.25", "--model.decay={end: 4, start: 1}"]
    changed.append("--model.discriminator_optimizer.betas=[0.25, 0.75]")
    with pytest.warns(UserWarning, match="not the checkpoint's") as warned:
        train(*small(*changed, "--ckpt_path=last"))
    (said,) = [str(warning.message) for warning in warned if "configuration" in str(warning.message)]
    assert "trainer.max_steps was 2, is 3" in said
    assert "model.generator_optimizer.init_args.lr was 0.001, is 0.25" in said
    assert "model.decay was None, is {'end': 4, 'start': 1}" in said
    assert "ckpt_path" not in said
    groups = [state["param_groups"][0] for state in read(runs, 3)["optimizer_states"]]
    assert [group["lr"] for group in groups] == pytest.approx([0.25 * 2 / 3, 0.001 * 2 / 3])  # (4 - 2) / (4 - 1)
    assert [tuple(group["betas"]) for group in groups] == [(0.5, 0.99), (0.25, 0.75)]


def contents(runs: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}


def read(runs: Path, step: int) -> dict:
    return torch.load(checkpoints(runs / "quickstart" / "version_0")[step], weights_only=True)


SGD = "{class_path: torch.optim.SGD, init_args: {lr: 0.1}}"
UNFIT = [
    (["--model.generator.width=8"], "does not fit the configuration: generator.init_args.width was 4, is 8"),
    (["--model.discriminator_norms=[Spectral]"], "discriminator_norms.0.class_path was gan.norms.Conv, is gan.norms"),
    ([f"--model.discriminator_optimizer={SGD}"], "holds the states of torch.optim.adam.Adam, torch.optim.adam.Adam"),
    (["--model.generator_optimizer.amsgrad=true"], "generator_optimizer: amsgrad was False, is True, but the check"),
    (["--trainer.callbacks=[]"], "the checkpoint holds averaged weights, but the config has no EMA callback"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), UNFIT, ids=lambda value: value[-1] if isinstance(value, list) else ""
)
@pytest.mark.filterwarnings("ignore:the configuration is not the checkpoint's")
def test_what_does_not_fit_a_checkpoint_is_one_line(train, capsys, arguments, message):
    runs = train(*small("--trainer.max_steps=1"))
    before = contents(runs)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=2", "--ckpt_path=last", *arguments))
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    checkpoint = checkpoints(runs / "quickstart" / "version_0")[1]
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=2", f"--ckpt_path={checkpoint}", *arguments))
    assert contents(runs) == before


@pytest.mark.parametrize("bar", ["true", "false"])
def test_a_run_that_is_over_stays_as_it_is(train, capsys, bar):
    bar = f"--trainer.enable_progress_bar={bar}"
    before = contents(train(*small("--trainer.max_steps=1", bar)))
    capsys.readouterr()
    assert contents(train(*small("--trainer.max_steps=1", bar, "--ckpt_path=last"))) == before
    *_, said = capsys.readouterr().out.splitlines()
    assert (
        said
        == "nothing to train: the run is at step 1 of trainer.max_steps 1 already; a larger --trainer.max_steps goes on"
    )
    checkpoint = checkpoints(Path("runs", "quickstart", "version_0"))[1]
    train(*small("--trainer.max_steps=1", bar, f"--ckpt_path={checkpoint}"))
    assert [path.name for path in Path("runs", "quickstart").iterdir()] == ["version_0"]


def test_last_is_the_newest_whole_checkpoint(train, capsys):
    runs = train(*small("--trainer.max_steps=2"))
    found = checkpoints(runs / "quickstart" / "version_0")
    found[2].write_bytes(found[2].read_bytes()[:-1])
    with pytest.warns(UserWarning, match="passed over: .*step_00000002.ckpt is not a whole checkpoint"):
        train(*small("--trainer.max_steps=2", "--ckpt_path=last"))
    assert read(runs, 2)["global_step"] == 2
    for path in found.values():
        path.write_bytes(b"")
    capsys.readouterr()
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(SystemExit) as exit_:
        train(*small("--trainer.max_steps=2", "--ckpt_path=last"))
    assert exit_.value.code == 1
    assert "checkpoints is whole: nothing to continue" in capsys.readouterr().err
    assert [path.name for path in (runs / "quickstart").iterdir()] == ["version_0"]


def test_fit_is_what_train_py_does_by_itself(train):
    runs = train(*small("--trainer.max_steps=1")[1:])
    assert (runs / "quickstart" / "version_0" / "metrics.jsonl").exists()


def test_validate_gives_the_number_of_the_training(train, capsys):
    metrics = ["--config", QUICKSTART, "--metrics.num_samples=70", "--metrics.every_n_steps=3"]
    runs = train("fit", *metrics, *SMALL, "--trainer.max_steps=3")
    lines = [json.loads(line) for line in (runs / "quickstart/version_0/metrics.jsonl").read_text().splitlines()]
    trained = [line["fd_digits"] for line in lines if "fd_digits" in line]
    capsys.readouterr()
    before = sorted(path for path in runs.rglob("*"))
    train("validate", *metrics, *SMALL, "--ckpt_path=last")
    assert repr(trained[-1]) in capsys.readouterr().out
    assert sorted(path for path in runs.rglob("*")) == before  # looking leaves no trace
    assert trained[0] != trained[-1]


@pytest.mark.parametrize(
    "callbacks",
    [
        "[{class_path: ModelCheckpoint}]",
        "[{class_path: TQDMProgressBar}, {class_path: gan.callbacks.Checkpoint}]",
        "[{class_path: RichProgressBar}]",
    ],
)
def test_callbacks_of_lightning_do_what_ours_do(train, callbacks):
    """In their place: there may be no second progress bar, and theirs saves without ours, too."""
    root = train(
        *small("--trainer.max_steps=1", f"--trainer.callbacks={callbacks}", "--trainer.enable_progress_bar=true")
    )
    saved = list(root.rglob("*.ckpt"))
    assert bool(saved) == ("Checkpoint" in callbacks)


def test_nothing_is_saved_if_nothing_is_to_be(train):
    callbacks = "[{class_path: ModelCheckpoint}, {class_path: gan.callbacks.Checkpoint}]"
    root = train(
        *small("--trainer.max_steps=1", f"--trainer.callbacks={callbacks}", "--trainer.enable_checkpointing=false")
    )
    assert not list(root.rglob("*.ckpt"))


def test_a_profiler_is_heard(train, caplog):
    train(*small("--trainer.max_steps=1", "--trainer.profiler=simple"))
    assert "run_training_batch" in caplog.text


def test_a_run_keeps_its_folder_whatever_else_logs(train):
    csv = "{class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: csv}}"
    runs = train(*small("--trainer.max_steps=1", f"--trainer.logger={csv}"))
    run = runs / "quickstart" / "version_0"
    assert list(checkpoints(run)) == [0, 1]
    assert yaml.safe_load((run / "config.yaml").read_text())["ckpt_path"] is None
    assert list((runs.parent / "csv").rglob("metrics.csv"))
    train(*small("--trainer.max_steps=1", "--trainer.enable_checkpointing=false"))
    assert not checkpoints(runs / "quickstart" / "version_1")


def test_start_and_end_say_what_one_needs(train, capsys):
    monitor = "[{class_path: gan.callbacks.Monitor, init_args: {every_n_steps: 2}}, gan.callbacks.Checkpoint]"
    shown = [f"--trainer.callbacks={monitor}", "--metrics.num_samples=70"]
    train("fit", "--config", QUICKSTART, *SMALL, *shown, "--trainer.max_steps=3")
    out = capsys.readouterr().out
    networks = (
        r"training DCGANGenerator \(Batch; \S+ M parameters\) against DCGANDiscriminator \(Conv; \S+ M parameters\)"
    )
    assert re.search(networks + ", Hinge loss\n", out)
    assert "3 steps of 8 images 32x32x1, labels not used: 0.0134 passes over 1,797\n" in out  # 3 * 8 / 1797
    assert "the run is in runs/quickstart/version_0; watch it with: tensorboard --logdir runs/quickstart\n" in out
    assert re.search(r"step 3: fd_digits \S+  is_digits \S+( ± \S+)?  \(\S+ s\)\n", out)
    end = out[out.index("finished at step 3 after ") :].splitlines()
    assert re.fullmatch(r"scores: fd_digits \S+  is_digits \S+( ± \S+)? \(step 3\)", end[1])
    assert end[2:] == [
        "next:",
        "  python train.py fit --resume runs/quickstart/version_0 --trainer.max_steps 6",
        "  python train.py sample runs/quickstart/version_0",
        "  python train.py compare runs/quickstart",
        "  tensorboard --logdir runs/quickstart",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_data_are_prepared_leaves_nothing(train, monkeypatch, tmp_path, number):
    monkeypatch.setattr(Digits, "prepare_data", lambda _: os.kill(os.getpid(), number))
    assert forked(lambda: train(*small("--trainer.max_steps=1"))) == 128 + number
    assert not list(tmp_path.rglob("version_*"))


def test_ctrl_c_while_modules_are_imported_prints_nothing(tmp_path):
    shutil.copy(ROOT / "train.py", tmp_path)
    (tmp_path / "gan" / "cli").mkdir(parents=True)
    for name in "checks.py", "cli/main.py", "cli/help.py", "cli/threads.py":
        shutil.copy(ROOT / "gan" / name, tmp_path / "gan" / name)
    (tmp_path / "gan" / "cli" / "command.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    ended = subprocess.run([sys.executable, tmp_path / "train.py", "fit"], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, b"")


def test_pictures_outlive_an_error(train):
    grids = "[{class_path: gan.callbacks.SampleGrid, init_args: {every_n_steps: 1}}]"
    diverging = "--model.generator_optimizer.lr=1e30", f"--trainer.callbacks={grids}"
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=50", *diverging))
    assert Path("runs/quickstart/version_0/samples/step_00000000.png").exists()


EVENTS = "--trainer.callbacks=[{class_path: gan.callbacks.Monitor, init_args: {every_n_steps: 1}}]"
GRIDS = "--trainer.callbacks=[gan.callbacks.SampleGrid]"


@pytest.mark.parametrize("callbacks", [EVENTS, GRIDS])
def test_a_full_disk_is_one_line(train, capfd, callbacks, tmp_path):
    def full_disk():
        limit_files(3000)
        train(*small("--trainer.max_steps=10", "--trainer.enable_checkpointing=false", callbacks))

    assert forked(full_disk) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: [Errno 27] ")
    assert not {path.suffix for path in tmp_path.rglob("*")} & {".png", ".tmp"}


@pytest.mark.filterwarnings("ignore:the configuration is not the checkpoint's")
def test_a_full_disk_keeps_the_configuration_of_a_run_that_goes_on(train, capfd):
    run = train(*small("--trainer.max_steps=1")) / "quickstart" / "version_0"
    before = (run / "config.yaml").read_bytes()
    capfd.readouterr()

    def full_disk():
        limit_files(2000)
        train(*small("--trainer.max_steps=2", "--ckpt_path=last"))

    assert forked(full_disk) == 1
    *_, line = capfd.readouterr().err.splitlines()
    assert line == "error: [Errno 27] cannot be written: File too large: 'runs/quickstart/version_0/config.yaml'"
    assert (run / "config.yaml").read_bytes() == before


def test_a_process_whose_partner_has_failed_says_so_in_one_line(train, monkeypatch, capfd):
    step = GAN.training_step

    def failing(module, *arguments):
        if (module.trainer.global_rank, module.trainer.global_step) == (0, 1):
            raise ValueError("of its own")
        return step(module, *arguments)

    monkeypatch.setattr(GAN, "training_step", failing)
    assert together(lambda: train(*small("--trainer.max_steps=3", "--trainer.devices=2"))) == [1, 1]
    said = capfd.readouterr().err  # besides warnings of torch's own, which differ from run to run
    assert "Traceback" not in said
    failed, left = sorted(line for line in said.splitlines() if line.startswith("error: "))
    assert failed == "error: of its own"
    assert left.startswith("error: the processes cannot reach each other; if one has ended, it said why: ")


def test_validate_needs_to_know_what(train, capsys):
    with pytest.raises(SystemExit):
        train("validate", "--config", QUICKSTART)
    assert "validate needs --ckpt_path" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train("validate", "--config", QUICKSTART, "--metrics=null", "--ckpt_path=last")
    assert "error: validate needs metrics, got none" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "loop"), [("validate", "val"), ("test", "test")])
def test_what_would_do_nothing_is_refused(train, capsys, command, loop):
    with pytest.raises(SystemExit):
        train(command, "--config", QUICKSTART, *SMALL, f"--trainer.limit_{loop}_batches=0")
    said = f"error: trainer.limit_{loop}_batches must not be 0: {command} would do nothing\n"
    assert capsys.readouterr().err == said


def test_validate_scores_images_without_a_checkpoint(train, tmp_path, capsys):
    for number in range(70):
        image = Image.frombytes("L", (32, 32), random.Random(number).randbytes(32 * 32))
        (tmp_path / "images").mkdir(exist_ok=True)
        image.save(tmp_path / "images" / f"{number}.png")
    arguments = ["--config", QUICKSTART, *SMALL, "--metrics.images=images"]
    train("validate", *arguments)
    out = capsys.readouterr().out
    assert "fd_digits: " in out
    assert "samples 70; source images, made to fit; seed None" in out
    with pytest.raises(SystemExit):
        train("test", *arguments)
    assert "error: digits has no test split to compare with" in capsys.readouterr().err


OTHERS = {"metrics", "robustness"}  # parts of configurations, and those of another program
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if not OTHERS & set(path.parts))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(train, monkeypatch, config, tmp_path):
    """All but the training itself: networks, norms, optimizers, callbacks and data set."""
    built = []
    monkeypatch.setattr(command.CLI, "fit", lambda line, **_: built.append(line))
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "images" / label / "x.png")
    root = [f"--data.root={tmp_path / 'images'}"] if "root:" in config.read_text() else []
    train("fit", "--config", str(config), *root, "--trainer.accelerator=cpu")
    optimizers = built[0].model.configure_optimizers()
    assert len(optimizers) == 2
    assert built[0].trainer.max_steps > 0
    assert config.read_text().startswith("#"), "a config begins with what it claims"


@pytest.mark.parametrize("metrics", ["digits", "inception", "none"])
def test_metrics_stack_on_an_experiment(train, monkeypatch, metrics):
    callbacks = []
    monkeypatch.setattr(command.CLI, "fit", lambda line, **_: callbacks.extend(line.trainer.callbacks))
    stacked = str(ROOT / "configs" / "metrics" / f"{metrics}.yaml")
    train("fit", "--config", QUICKSTART, "--config", stacked)
    assert [type(callback).__name__ for callback in callbacks].count("Evaluation") == (metrics != "none")


def test_last_is_never_an_older_run(train, capsys):
    runs = train(*small("--trainer.max_steps=1"))
    (runs / "quickstart" / "version_1").mkdir()  # killed before its first checkpoint
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=2", "--ckpt_path=last"))
    assert "version_1, has no checkpoint: give --ckpt_path the folder of another" in capsys.readouterr().err


def test_processes_that_nobody_asked_for_are_refused(train, capfd, tmp_path):
    assert together(lambda: train(*small("--trainer.max_steps=1"))) == [1, 1]
    said = "2 processes have been started, but trainer.devices and trainer.num_nodes ask for 1\n"
    assert capfd.readouterr().err == f"error: {said}" * 2
    assert not list(tmp_path.rglob("*.ckpt"))


def test_other_plugins_leave_the_precision_open(train, monkeypatch):
    monkeypatch.setattr(training, "fastest_precision", lambda accelerator: "64-true")
    plugin = "--trainer.plugins=lightning_fabric.plugins.environments.LightningEnvironment"
    run = train(*small("--trainer.max_steps=1", "--trainer.precision=null", plugin)) / "quickstart" / "version_0"
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == "64-true"


def test_too_little_memory_is_one_line(train, monkeypatch, capsys):
    monkeypatch.setattr(GAN, "training_step", lambda *_: torch.empty(2**60))
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=1"))
    line = "error: out of memory; a smaller data.batch_size, or more model.micro_batches of a GAN, needs less: "
    assert capsys.readouterr().err.startswith(line)


def test_the_configuration_is_there_before_what_takes_long(train, monkeypatch):
    there = []

    def look(self, trainer, module):
        there.append((run_folder(trainer) / "config.yaml").exists())

    monkeypatch.setattr(SampleGrid, "on_train_start", look)
    train(*small("--trainer.max_steps=1"))
    assert there == [True]


def test_resume_takes_the_configuration_of_the_run_and_its_folder(train, tmp_path):
    """Wherever it was moved to, and in whichever folder the command is given."""
    runs = train(*small("--trainer.max_steps=2"))
    (tmp_path / "moved").mkdir()
    shutil.move(runs / "quickstart" / "version_0", tmp_path / "moved")
    run = tmp_path / "moved" / "version_0"
    with pytest.warns(UserWarning, match="not the checkpoint's: trainer.max_steps was 2, is 4$"):
        train("fit", "--resume", "moved/version_0", "--trainer.max_steps=4")
    assert sorted(checkpoints(run)) == [2, 4]
    assert json.loads((run / "outcome.json").read_text()) == {"status": "finished", "step": 4, "message": ""}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["resume"], config["init_from"], config["ckpt_path"]) == (None, None, None)
    train(*small("--trainer.max_steps=4", "--experiment=unbroken"))
    states = [torch.load(checkpoints(each)[4], weights_only=True) for each in (run, runs / "unbroken" / "version_0")]
    assert all(torch.equal(a, b) for a, b in zip(*(s["state_dict"].values() for s in states), strict=True))


def test_weights_alone_begin_a_new_run(train, capsys):
    """What fits in shape is taken; the rest is named, and is as in a run of its own."""
    runs = train(*small("--trainer.max_steps=3"))
    old = torch.load(checkpoints(runs / "quickstart" / "version_0")[3], weights_only=True)["state_dict"]
    capsys.readouterr()
    wider = "--model.discriminator.width=6", "--model.discriminator_norms=[Spectral]"
    train(*small("--trainer.max_steps=1", "--init_from=runs/quickstart/version_0", *wider, "--experiment=new"))
    said = capsys.readouterr().out
    new = torch.load(checkpoints(runs / "new" / "version_0")[0], weights_only=True)
    assert (new["global_step"], new["optimizer_states"][0]["state"]) == (0, {})
    assert all(torch.equal(new["state_dict"][name], old[name]) for name in old if name.startswith("generator."))
    average = {name: new["state_dict"][f"generator_ema.{name.removeprefix('generator.')}"] for name in old
               if name.startswith("generator.")}  # fmt: skip
    assert all(torch.equal(tensor, old[name]) for name, tensor in average.items())
    assert "the newest checkpoint of runs/quickstart/version_0 is " in said
    assert "tensors come from runs/quickstart/version_0/checkpoints/step_00000003.ckpt" in said
    assert "not in the checkpoint: discriminator." in said
    assert "only in the checkpoint: discriminator." in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume=RUN", "--init_from=RUN"], "--resume and --init_from exclude each other: give one of them"),
        (["--resume=RUN", "--ckpt_path=last"], "--resume and --ckpt_path exclude each other: give one of them"),
        (["--resume=RUN/checkpoints/step_00000001.ckpt"], "--resume takes the folder of a run"),
        (["--init_from=nowhere"], "there is no run or checkpoint nowhere"),
    ],
)  # fmt: skip
def test_ways_to_go_on_that_cannot_be_meant_are_one_line(train, capsys, arguments, message):
    run = train(*small("--trainer.max_steps=1")) / "quickstart" / "version_0"
    before = contents(run.parent)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=2", *(argument.replace("RUN", str(run)) for argument in arguments)))
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert contents(run.parent) == before


def test_validate_needs_no_configuration_of_a_run(train, capsys):
    metrics = ["--config", QUICKSTART, "--metrics.num_samples=70", "--metrics.every_n_steps=2"]
    run = train("fit", *metrics, *SMALL, "--trainer.max_steps=2") / "quickstart" / "version_0"
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    capsys.readouterr()
    train("validate", str(run))
    assert f"fd_digits: {line['fd_digits']!r}" in capsys.readouterr().out


def test_a_diverged_run_says_so_in_its_folder(train):
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=9", "--model.generator_optimizer.lr=1e30"))
    outcome = json.loads(Path("runs/quickstart/version_0/outcome.json").read_text())
    assert outcome["status"] == "diverged"
    assert "generator" in outcome["message"]


def test_moved_images_are_named(train, capsys, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(8):
        Image.new("L", (32, 32)).save(tmp_path / "images" / f"{number}.png")
    data = "--data=gan.data.Folder", "--data.root=images", "--data.image_size=32", "--data.channels=1"
    train(*small("--trainer.max_steps=1", *data))
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(SystemExit), pytest.warns(UserWarning, match="max_steps was 1, is 2"):
        train("fit", "--resume", "runs/quickstart/version_0", "--trainer.max_steps=2")
    assert "error: root 'images' does not exist" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="data.init_args.root was images, is elsewhere"):
        train("fit", "--resume", "runs/quickstart/version_0", "--trainer.max_steps=2", "--data.root=elsewhere")
    assert sorted(checkpoints(Path("runs/quickstart/version_0"))) == [1, 2]
