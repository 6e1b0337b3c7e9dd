"""Runs on the disk: what they leave, and that they continue exactly."""

import json
import os
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, small_gan, together
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import gan
from gan.callbacks import EMA, Checkpoint, Monitor, OperatorNorms, SampleGrid
from gan.data import Digits
from gan.data.sources import ArraySource
from gan.module import GAN
from gan.norms import Batch, ConditionalBatch, Conv, Spectral
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.runs.description import changes_since
from gan.runs.files import write_atomically
from gan.runs.folder import checkpoint_path, checkpoints, newest_run
from gan.runs.logger import RunLogger, run_folder
from gan.training.optimizers import LinearDecay

BATCH = 8


class FewDigits(Digits):
    """Six batches are an epoch: three generator steps of two updates of the discriminator."""

    def open(self, split: str) -> ArraySource:
        every = super().open(split)
        return ArraySource(every.pixels[: 6 * BATCH], every.labels[: 6 * BATCH], self.frame)


class Killer(Callback):
    """Ends a run in the middle, as abruptly as can be done inside a process."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            raise InterruptedError


MEASURED = "images_per_second", "peak_memory_gib"  # of the machine, not of the run


def callbacks(every_n_steps: int = 2) -> list[Callback]:
    return [
        EMA(half_life_images=1000),
        Monitor(every_n_steps=1),
        SampleGrid(every_n_steps=2, rows=2, columns=2),
        OperatorNorms(every_n_steps=3),
        Checkpoint(every_n_steps=every_n_steps),
    ]


def train(root: Path, steps: int, extra: list[Callback] | None = None, resume: bool = False, **trainer) -> Path:
    norms = {"generator_norms": [Batch()], "discriminator_norms": [Spectral(), Conv()]}
    module = small_gan(**norms, decay=LinearDecay(10), discriminator_steps=2)
    logger, checkpoint = RunLogger(str(root), "digits"), None
    if resume:
        run = newest_run(root / "digits")
        step, checkpoint = max(checkpoints(run).items())
        logger = RunLogger(str(root), "digits", run, step)
    data = FewDigits(batch_size=BATCH)
    fit(module, steps, [*callbacks(), *(extra or [])], data=data, logger=logger, ckpt_path=checkpoint, **trainer)
    return Path(logger.log_dir)


def lines(run: Path) -> list[dict]:
    parsed = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in parsed]


def assert_same(a, b, path=""):
    """Compare the contents of two checkpoints bit for bit."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train(tmp_path_factory.mktemp("unbroken"), 6)


@pytest.mark.parametrize("killed_at", [[1], [3], [4], [1, 4, 5]])
def test_a_killed_run_continues_bit_for_bit(tmp_path, unbroken, killed_at):
    """Killed before the first regular checkpoint, in mid-epoch, at an epoch's end, and again and again."""
    for attempt, step in enumerate(killed_at):
        with pytest.raises(InterruptedError):
            train(tmp_path, 6, [Killer(step)], resume=attempt > 0)
    run = train(tmp_path, 6, resume=True)
    assert run.name == "version_0"
    assert_same(*(read_checkpoint(find_checkpoint(path)) for path in (unbroken, run)))
    assert lines(run) == lines(unbroken)
    for grid in (unbroken / "samples").iterdir():
        assert grid.read_bytes() == (run / "samples" / grid.name).read_bytes()
    assert logged(run) == logged(unbroken)


def forgetful() -> GAN:
    """A GAN whose discriminator forgets half of what it sees."""
    module = small_gan()
    module.discriminator.downs.append(ForgetHalf())
    return module


class ForgetHalf(nn.Dropout):
    def forward(self, x, y):
        return super().forward(x)


def test_what_networks_draw_by_themselves_is_drawn_again(tmp_path):
    whole = fit(forgetful(), 3)
    fit(forgetful(), 1).save_checkpoint(tmp_path / "1.ckpt")
    torch.rand(1)  # as a new process, which does not stand where the old one stood
    run = fit(forgetful(), 3, ckpt_path=tmp_path / "1.ckpt")
    assert_same(*({**trainer.lightning_module.state_dict()} for trainer in (whole, run)))


def test_processes_forget_different_things(tmp_path):
    def train() -> None:
        fit(small_gan(), 1, processes=2)
        (tmp_path / os.environ["RANK"]).write_text(str(torch.rand(4).tolist()))

    assert together(train) == [0, 0]
    assert (tmp_path / "0").read_text() != (tmp_path / "1").read_text()


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("speed/")]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_steps_are_one_number_everywhere(unbroken):
    """max_steps, file names, metric lines, TensorBoard's axis and the checkpoint count generator steps."""
    assert sorted(checkpoints(unbroken)) == [4, 6]
    assert read_checkpoint(find_checkpoint(unbroken))["global_step"] == 6
    assert [line["step"] for line in lines(unbroken) if "loss/generator" in line] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in logged(unbroken)["loss/generator"]] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in (unbroken / "samples").iterdir())[-1] == "step_00000006.png"
    assert [line["step"] for line in lines(unbroken) if any("operator_norm" in name for name in line)] == [0, 3, 6]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_speed_is_of_all_real_images_since_the_last_line(tmp_path, monkeypatch, processes):
    """Two steps of two updates with 8 images take 4 s, then 2 s."""
    clock = SimpleNamespace(perf_counter=iter([0.0, 4.0, 6.0]).__next__)
    monkeypatch.setattr("gan.callbacks.monitor.time", clock)

    def train() -> None:
        logger = RunLogger(str(tmp_path), "x")
        fit(small_gan(discriminator_steps=2), 4, [Monitor(every_n_steps=2)], logger=logger, processes=processes)

    assert together(train, processes) == [0] * processes
    logged = (tmp_path / "x" / "version_0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["images_per_second"] for line in logged] == [8, 16]


def test_the_decay_follows_the_generator_steps(unbroken):
    rates = [line["learning_rate/generator"] for line in lines(unbroken) if "learning_rate/generator" in line]
    assert rates == pytest.approx([2e-4 * (10 - step) / 10 for step in range(6)])


def test_load_gives_the_averaged_generator_without_data_or_config(unbroken):
    module = gan.load(unbroken)
    assert module.weights_name == "ema"
    checkpoint = read_checkpoint(find_checkpoint(unbroken))
    state = {key.removeprefix("generator_ema."): value for key, value in checkpoint["state_dict"].items()}
    for name, value in module.sampler.state_dict().items():
        assert torch.equal(value, state[name])
    images = module.sample(4)
    assert images.shape == (4, 1, 32, 32)
    assert torch.equal(images, gan.load(checkpoints(unbroken)[6]).sample(4))


def test_grids_show_the_averaged_generator(unbroken):
    from PIL import Image

    grid = torch.tensor(list(Image.open(unbroken / "samples" / "step_00000006.png").getdata())).view(70, 70)
    assert torch.equal(grid[2:34, 2:34].byte(), gan.load(unbroken).sample(4)[0, 0])
    assert torch.equal(grid[36:68, 36:68].byte(), gan.load(unbroken).sample(4)[3, 0])


def test_average_by_hand():
    class Positions(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, *_):
            self.seen.append(pl_module.generator.project.weight.detach().clone())

    positions = Positions()
    module = small_gan(generator_batch_ratio=2)
    average = module.generator.project.weight.detach().clone()
    # eight images a batch of D, sixteen one of G: a half-life of 16 halves the distance in every step
    fit(module, 3, [positions, EMA(half_life_images=16)])
    for weight in positions.seen:
        average = (average + weight) / 2
    torch.testing.assert_close(module.generator_ema.project.weight, average)


def test_average_copies_running_statistics():
    module = small_gan(generator_norms=[Batch()])
    fit(module, 2, [EMA()])
    assert torch.equal(module.generator_ema.norm.running_mean, module.generator.norm.running_mean)
    assert int(module.generator_ema.norm.num_batches_tracked) == int(module.generator.norm.num_batches_tracked)
    assert not any(p.requires_grad for p in module.generator_ema.parameters())


@pytest.mark.parametrize(("saved", "asked"), [(True, False), (False, True)])
def test_average_of_checkpoint_and_config_must_agree(tmp_path, saved, asked):
    logger = RunLogger(str(tmp_path), "x")
    fit(small_gan(), 1, [Checkpoint(), *([EMA()] if saved else [])], logger=logger)
    checkpoint = find_checkpoint(Path(logger.log_dir))
    with pytest.raises(ValueError, match="averaged weights, but the config has"):
        fit(small_gan(), 2, [EMA()] if asked else [], ckpt_path=checkpoint)


Adam, RMSprop, SGD = torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD
ANOTHER_STATE = [
    (Adam, {"amsgrad": True, "lr": 1e-4}, "amsgrad was False, is True, but the checkpoint's states have no 'max_exp"),
    (RMSprop, {"momentum": 0.9}, "momentum was 0, is 0.9, but the checkpoint's states have no 'momentum_buffer'"),
    (RMSprop, {"centered": True}, "centered was False, is True, but the checkpoint's states have no 'grad_avg'"),
]


@pytest.mark.parametrize(("kind", "settings", "message"), ANOTHER_STATE)
def test_an_optimizer_that_needs_another_state_is_refused(tmp_path, kind, settings, message):
    fit(small_gan(discriminator_optimizer=kind), 1).save_checkpoint(tmp_path / "1.ckpt")
    changed = small_gan(discriminator_optimizer=partial(kind, **settings))
    with pytest.raises(ValueError, match=f"^discriminator_optimizer: {message}"):
        fit(changed, 2, ckpt_path=tmp_path / "1.ckpt")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Adam, partial(Adam, lr=1e-4, betas=(0.1, 0.2), weight_decay=0.1)),
        (partial(Adam, amsgrad=True), Adam),
        (partial(SGD, lr=0.1), partial(SGD, lr=0.1, momentum=0.9)),
    ],
)
def test_an_optimizer_that_makes_do_with_its_state_goes_on(tmp_path, before, after):
    fit(small_gan(generator_optimizer=before), 1).save_checkpoint(tmp_path / "1.ckpt")
    assert fit(small_gan(generator_optimizer=after), 2, ckpt_path=tmp_path / "1.ckpt").global_step == 2


def test_an_untrained_optimizer_may_change(tmp_path):
    logger = RunLogger(str(tmp_path), "x")
    fit(small_gan(), 1, [Checkpoint(keep=0)], logger=logger)
    untrained = checkpoints(Path(logger.log_dir))[0]
    assert fit(small_gan(generator_optimizer=partial(Adam, amsgrad=True)), 1, ckpt_path=untrained).global_step == 1


class Harmonic(torch.optim.SGD):
    """Step k goes a k-th as far; k stands in the group of parameters, where ScheduleFree and Prodigy count too."""

    def __init__(self, parameters, lr=0.1, **others):
        super().__init__(parameters, lr, **others)
        self.param_groups[0]["k"] = 0

    @torch.no_grad()
    def step(self, closure=None):
        (group,) = self.param_groups
        group["k"] += 1
        for parameter in group["params"]:
            parameter -= group["lr"] / group["k"] * parameter.grad


def test_what_an_optimizer_counts_in_its_group_goes_on_and_settings_hold(tmp_path):
    whole = fit(small_gan(generator_optimizer=Harmonic), 4)
    fit(small_gan(generator_optimizer=Harmonic), 2).save_checkpoint(tmp_path / "2.ckpt")
    run = fit(small_gan(generator_optimizer=Harmonic), 4, ckpt_path=tmp_path / "2.ckpt")
    assert_same(*({**trainer.lightning_module.state_dict()} for trainer in (whole, run)))
    changed = fit(small_gan(generator_optimizer=partial(Harmonic, weight_decay=0.1)), 3, ckpt_path=tmp_path / "2.ckpt")
    (group,) = changed.optimizers[0].param_groups
    assert (group["k"], group["weight_decay"]) == (3, 0.1)


def read_best(run: Path) -> int | None:
    path = run / "checkpoints" / "best.ckpt"
    return read_checkpoint(path)["global_step"] if path.exists() else None


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_best_checkpoint_follows_the_metric(tmp_path, lower_is_better):
    class Metric(Callback):
        values = 9.0, None, 7.0, float("nan"), 2.0, 2.0

        def __init__(self):
            self.before = []

        def on_train_start(self, trainer, pl_module):
            if (value := self.values[trainer.global_step]) is not None:
                pl_module.publish({"fd": value if lower_is_better else -value})
                self.before.append(read_best(run_folder(trainer)))

        def on_train_batch_end(self, trainer, pl_module, *_):
            self.on_train_start(trainer, pl_module)

    logger = RunLogger(str(tmp_path), "x")
    metric = Metric()
    checkpoint = Checkpoint(every_n_steps=5, keep=0, monitor="fd", lower_is_better=lower_is_better)
    fit(small_gan(), 5, [metric, checkpoint], logger=logger)
    run = Path(logger.log_dir)
    assert metric.before == [None, 0, 2, 2, 4]  # at steps 0, 2, 3, 4 and 5: step 1 has no value of its own
    assert read_best(run) == 4  # step 5 is no better
    assert sorted(checkpoints(run)) == [0, 5]
    with pytest.raises(ValueError, match=r"monitor must be a metric of this run \(fd\), got 'fid'"):
        fit(small_gan(), 1, [Metric(), Checkpoint(monitor="fid")], logger=RunLogger(str(tmp_path), "x"))


def test_the_best_of_another_metric_is_not_the_best(tmp_path):
    class Metrics(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            pl_module.publish({"fd": 1.0 / trainer.global_step, "is": 1.0 + trainer.global_step})

        def on_train_start(self, trainer, pl_module):
            if trainer.ckpt_path is None:
                pl_module.publish({"fd": 2.0, "is": 1.0})

    logger = RunLogger(str(tmp_path), "x")
    fit(small_gan(), 3, [Metrics(), Checkpoint(monitor="fd")], logger=logger)
    run = Path(logger.log_dir)
    assert read_best(run) == 3
    checkpoint = Checkpoint(monitor="is", lower_is_better=False)
    fit(
        small_gan(),
        4,
        [Metrics(), checkpoint],
        logger=RunLogger(str(tmp_path), "x", run, 3),
        ckpt_path=find_checkpoint(run),
    )
    assert (read_best(run), checkpoint.best) == (4, 5.0)


def test_a_training_that_is_asked_to_stop_makes_its_least_steps_and_one_checkpoint(tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            trainer.should_stop = True

    logger = RunLogger(str(tmp_path), "x")
    trainer = fit(small_gan(), 9, [Stop(), Checkpoint()], logger=logger, min_steps=5)
    assert trainer.global_step == 5
    assert sorted(checkpoints(Path(logger.log_dir))) == [0, 5]


def test_conditional_grids_have_a_class_a_column(tmp_path):
    logger = RunLogger(str(tmp_path), "x")
    module = small_gan(generator_norms=[ConditionalBatch()])
    fit(module, 1, [SampleGrid(rows=2, columns=3)], logger=logger)
    asked = module.sample(6, torch.tensor([0, 1, 2, 0, 1, 2]))
    from PIL import Image

    picture = Image.open(Path(logger.log_dir, "samples", "step_00000001.png"))
    grid = torch.tensor(list(picture.getdata())).view(70, 104)
    assert torch.equal(grid[36:68, 36:68].byte(), asked[4, 0])
    assert torch.equal(grid[36:68, 70:102].byte(), asked[5, 0])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def full_disk(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, full_disk)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_that_cannot_be_written_are_named(tmp_path):
    logger = RunLogger(str(tmp_path), "run")
    Path(logger.log_dir, "metrics.jsonl").mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot be written: Is a directory: '.*metrics\.jsonl'"):
        logger.log_metrics({"a": 1.0}, 1)


def test_unreadable_checkpoints_are_named(tmp_path):
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match=r"cut.ckpt is not a whole checkpoint \(.*\): File is not a zip file"):
        gan.load(cut)
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    with pytest.raises(ValueError, match=r"foreign.ckpt is not a checkpoint of a gan"):
        gan.load(foreign)
    with pytest.raises(FileNotFoundError, match="neither a checkpoint nor the folder of a run"):
        gan.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing to continue"):
        newest_run(tmp_path)


class Malice:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_a_checkpoint_that_executes_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"gan": Malice()}, "malice.ckpt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        gan.load("malice.ckpt")
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("os.system", "names os.system where a Generator is expected"),
        ("gan.losses.Hinge", "names gan.losses.Hinge where a Generator is expected"),
        ("nowhere.Generator", "needs nowhere.Generator, which cannot be imported"),
    ],
)
def test_a_checkpoint_builds_nothing_but_networks(tmp_path, unbroken, class_path, message):
    checkpoint = read_checkpoint(find_checkpoint(unbroken))
    checkpoint["gan"]["generator"] = {"class_path": class_path, "init_args": {"command": "true"}}
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=message):
        gan.load(tmp_path / "x.ckpt")


def test_lines_after_the_checkpoint_are_cut(tmp_path):
    logger = RunLogger(str(tmp_path), "x")
    for step in range(4):
        logger.log_metrics({"a": float(step)}, step)
    run = Path(logger.log_dir)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 1')  # a line that a kill cut short
    logger.save()
    before = {path: path.read_bytes() for path in run.iterdir()}
    time.sleep(1)  # TensorBoard reads files in the order of their names, which hold whole seconds
    refused = RunLogger(str(tmp_path), "x", run, from_step=2)
    assert refused.experiment, "Lightning asks for it before it looks at the checkpoint"
    refused.save()
    refused.finalize("failed")
    assert {path: path.read_bytes() for path in run.iterdir()} == before, "what is refused loses nothing"
    continued = RunLogger(str(tmp_path), "x", run, from_step=2)
    continued.cut_once()
    assert [line["step"] for line in lines(run)] == [0, 1, 2], "a checkpoint before the first line counts on it"
    continued.save()
    assert [step for step, _ in logged(run)["a"]] == [0, 1, 2]
    continued.log_metrics({"a": 3.0}, 3)
    continued.log_metrics({"a": 4.0}, 4)
    assert [line["step"] for line in lines(run)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("made", [None, "samples/step_00000000.png", "metrics.jsonl", "checkpoints/best.ckpt"])
def test_a_run_is_discarded_only_if_nothing_was_made_in_it(tmp_path, made):
    logger = RunLogger(str(tmp_path), "x")
    run = Path(logger.log_dir)
    (run / "config.yaml").write_text("seed_everything: 0")
    if made is not None:
        write_atomically(run / made, lambda file: file.write(b"what took hours"))
    logger.discard_unused()
    assert run.exists() == (made is not None)


@pytest.mark.parametrize("damaged", [b'{"step": 1, "\xff": 0}', b"5", b'{"a": 1.0}', b'{"step": null}', b"[1]", b"{"])
def test_a_damaged_line_is_named_and_dropped(tmp_path, damaged):
    metrics = tmp_path / "x" / "version_0" / "metrics.jsonl"
    write_atomically(metrics, lambda file: file.write(b'{"step": 0}\n' + damaged + b'\n{"step": 2}\n{"step": 3}\n'))
    with pytest.warns(UserWarning, match=r"version_0/metrics.jsonl: damaged and dropped: line 2$") as warned:
        RunLogger(str(tmp_path), "x", metrics.parent, from_step=2).cut_once()
    assert len(warned) == 1
    assert metrics.read_bytes() == b'{"step": 0}\n{"step": 2}\n'


@pytest.mark.parametrize("damaged", [b"", b"se", b"hello", b"a: [", b"a: \xff", b"a: 2026-02-31"])
def test_a_damaged_configuration_is_none(tmp_path, damaged):
    checkpoint = checkpoint_path(tmp_path, 1)
    assert changes_since(checkpoint, "a: 1") == []
    (tmp_path / "config.yaml").write_bytes(damaged)
    assert changes_since(checkpoint, "a: 1") == []
    (tmp_path / "config.yaml").write_text("a: 2")
    assert changes_since(checkpoint, "a: 1") == ["a was 2, is 1"]


def test_runs_that_start_together_get_versions_of_their_own(tmp_path):
    loggers = [RunLogger(str(tmp_path), "x") for _ in range(3)]
    assert [Path(logger.log_dir).name for logger in loggers] == ["version_0", "version_1", "version_2"]


def test_a_run_that_ends_with_its_epochs_saves(tmp_path):
    run = train(tmp_path, 10, max_epochs=1, limit_train_batches=1)
    assert list(checkpoints(run)) == [0, 1]


class Stopper(Killer):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.should_stop = True


def test_an_epoch_that_was_cut_short_counts_no_more_than_its_steps(tmp_path):
    epochs = {"max_epochs": 2, "limit_train_batches": 3}
    train(tmp_path, 10, [Stopper(1)], **epochs)
    run = train(tmp_path, 10, resume=True, **epochs)
    assert max(checkpoints(run)) == 6


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_average_is_spectrally_normalized_by_its_own_norm(precision):
    """By the raw weights' singular vectors its layers had norms of up to 1.3."""
    fast = partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.9))
    module = small_gan(generator_norms=[Batch(), Spectral()], generator_optimizer=fast)
    fit(module, 40, [EMA(half_life_images=400)], precision=precision)
    average = module.generator_ema.eval()
    sites = [each for each in average.modules() if isinstance(each, nn.Linear | nn.ConvTranspose2d | nn.Conv2d)]
    for site in sites:
        rows = site.weight.transpose(0, 1) if isinstance(site, nn.ConvTranspose2d) else site.weight
        assert torch.linalg.matrix_norm(rows.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    assert len(sites) == 4


def test_limits_stay_as_they_were_asked_for():
    trainer = fit(small_gan(), 9, max_epochs=2, limit_train_batches=1)
    assert (trainer.global_step, trainer.max_epochs, trainer.max_steps) == (2, 2, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": [Checkpoint()]}, "without a gan.runs.logger.RunLogger there is no folder to save in"),
        ({"callbacks": [EMA(), EMA(1)]}, "trainer.callbacks has several EMA"),
        ({"callbacks": [EMA()], "precision": "bf16-true"}, "EMA: torch.bfloat16 is too coarse"),
    ],
)
def test_what_would_save_nothing_or_average_wrongly_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(small_gan(), 1, **arguments)


def test_the_best_of_another_run_is_not_beaten_in_vain(tmp_path):
    """A new version that starts from a checkpoint has a best of its own, whatever that run's was."""

    class Metric(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            pl_module.publish({"fd": 1.0 + trainer.global_step})

        def on_train_start(self, trainer, pl_module):
            if trainer.ckpt_path is None:
                pl_module.publish({"fd": 1.0})

    first, second = (RunLogger(str(tmp_path), "x") for _ in range(2))
    fit(small_gan(), 2, [Metric(), Checkpoint(monitor="fd")], logger=first)
    start = find_checkpoint(first.log_dir)
    fit(small_gan(), 4, [Metric(), Checkpoint(monitor="fd")], logger=second, ckpt_path=start)
    assert (read_best(Path(first.log_dir)), read_best(Path(second.log_dir))) == (0, 3)


def test_a_value_that_stands_there_is_not_logged_again(tmp_path):
    """An evaluation made up for is made twice if the run is killed before its checkpoint."""
    protocol = {"samples": 3}
    logger = RunLogger(str(tmp_path), "x")
    for step in range(3):
        logger.log_metrics({"loss": 0.5}, step)
        logger.log_metrics({"fd": float(step)}, step, protocol)
    run = Path(logger.log_dir)
    expected = (run / "metrics.jsonl").read_bytes()
    continued = RunLogger(str(tmp_path), "x", run, from_step=2)
    continued.log_metrics({"fd": 2.0}, 2, protocol)
    continued.save()
    assert (run / "metrics.jsonl").read_bytes() == expected
    assert [(step, value) for step, value in logged(run)["evaluation/fd"]] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    continued.log_metrics({"other": 2.0}, 2)
    continued.log_metrics({"fd": 2.5}, 2, {"samples": 4})
    continued.log_metrics({"fd": 3.0}, 3, protocol)
    assert [line["step"] for line in lines(run)] == [0, 0, 1, 1, 2, 2, 2, 2, 3]


def test_lines_are_json_whatever_the_values(tmp_path):
    logger = RunLogger(str(tmp_path), "x")
    logger.log_metrics({"a": float("nan"), "b": float("-inf"), "c": torch.tensor(1.5)}, 0)
    (line,) = (Path(logger.log_dir) / "metrics.jsonl").read_text().splitlines()
    assert line == '{"step": 0, "a": null, "b": null, "c": 1.5}'


@pytest.mark.parametrize("precision", ["bf16-true", "32-true", "64-true"])
def test_a_loaded_gan_computes_as_the_trained_one(tmp_path, precision, monkeypatch):
    module, logger = small_gan(generator_norms=[Batch()]), RunLogger(str(tmp_path), "x")
    fit(module, 1, [Checkpoint()], logger=logger, precision=precision)
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = gan.load("~/x/version_0")
    assert loaded.weights_dtype == module.weights_dtype
    assert torch.equal(loaded.sample(3), module.sample(3))


def test_a_loaded_gan_is_for_sampling(unbroken):
    """Its norms would not move with its weights, nor would its average."""
    with pytest.raises(ValueError, match=r"in evaluation mode, as those of gan\.load are: to train on"):
        fit(gan.load(unbroken), 7)
