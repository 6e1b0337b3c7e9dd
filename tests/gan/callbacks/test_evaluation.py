import json
import re
from importlib.metadata import version

import pytest
import torch
import yaml
from fakes import Corners, Noise
from jsonargparse import ArgumentError, ArgumentParser
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ProgressBar
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from gan.callbacks import EMA, Collapse, Evaluation
from gan.losses import Hinge
from gan.metrics import BFloat16, Frechet, InceptionScore, KernelDistance, PrecisionRecall
from gan.metrics.frechet import frechet_distance
from gan.module import GAN
from gan.networks import DCGANDiscriminator, DCGANGenerator
from gan.norms import Batch
from gan.runs.logger import RunLogger
from gan.training.strategy import GANStrategy


def make_gan():
    torch.manual_seed(0)
    facts = {"image_size": 32, "channels": 1, "width": 4}
    networks = DCGANGenerator(**facts, latent_dim=8), DCGANDiscriminator(**facts)
    return GAN(*networks, loss=Hinge(), generator_norms=[Batch()])


def make_evaluation(network=None, **arguments):
    settings = {"scores": [Frechet()], "num_samples": 20, "every_n_steps": 2, "batch_size": 8, **arguments}
    return Evaluation(network or Corners(), **settings)


def make_trainer(*callbacks, steps=4, **settings):
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **settings}
    return Trainer(
        max_steps=steps,
        callbacks=list(callbacks),
        accelerator="cpu",
        enable_model_summary=False,
        use_distributed_sampler=False,
        **settings,
    )


def fit(*callbacks, module=None, ckpt_path=None, data=None, **settings):
    trainer = make_trainer(*callbacks, **settings)
    module = module or make_gan()
    trainer.fit(module, datamodule=data or Noise(), ckpt_path=ckpt_path)
    return trainer, module


class SaveAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_epoch_start(self, trainer, pl_module):
        if self.step == 0:
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def all_images(data):
    return torch.cat(list(data.reference("train")))


def published(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_curve_has_a_point_at_the_start_every_n_steps_and_at_the_end(tmp_path):
    fit(make_evaluation(), logger=RunLogger(str(tmp_path), "x"), steps=5)
    lines = published(tmp_path / "x" / "version_0")
    assert [line["step"] for line in lines] == [0, 2, 4, 5]
    for line in lines:
        assert line.keys() == {"step", "fd_corners", "evaluation_seconds", "evaluation_share", "protocol"}
        assert 0 < line["evaluation_share"] < 1


PROTOCOL = {
    "scores": "Frechet, InceptionScore(splits=3)",
    "features": "corners",
    "resize": "the network's own",
    "reference": "noise/train 32x32x1",
    "reference_images": 50,
    "samples": 20,
    "source": "raw weights",
    "seed": 0,
    "normalization": "running statistics",
    "precision": "generator float32, features float32",
    "device": "cpu",
}


def test_protocol_stands_beside_every_number(tmp_path):
    fit(make_evaluation(scores=[Frechet(), InceptionScore(3)]), logger=RunLogger(str(tmp_path), "x"))
    protocols = [line["protocol"] for line in published(tmp_path / "x" / "version_0")]
    assert len(protocols) == 3
    for protocol in protocols:
        assert protocol.items() >= PROTOCOL.items()
        assert re.fullmatch("[0-9a-f]{16}", protocol["features_weights"])
        assert protocol["reference_content"] == Noise().content_hash("train")[:16]
        assert f"torch {version('torch')}, " in protocol["versions"]
    events = EventAccumulator(str(tmp_path / "x" / "version_0")).Reload()
    tag = next(tag for tag in events.Tags()["tensors"] if tag.startswith("protocol"))
    texts = {event.step: event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)}
    assert texts.keys() == {0, 2, 4}
    for name, value in protocols[-1].items():
        assert f"{name}: {value}" in texts[4]


def test_protocol_says_whose_weights_and_in_what_precision(tmp_path):
    evaluation = make_evaluation(BFloat16(Corners()))
    callbacks = evaluation, EMA(half_life_images=10)
    fit(*callbacks, logger=RunLogger(str(tmp_path), "x"), steps=1, precision="64-true")
    protocol = published(tmp_path / "x" / "version_0")[0]["protocol"]
    assert protocol["source"] == "ema weights"
    assert protocol["precision"] == "generator float64, features bfloat16"


def test_a_resumed_run_keeps_each_protocol_once(tmp_path):
    settings = {"logger": RunLogger(str(tmp_path), "x"), "steps": 4}
    fit(make_evaluation(), SaveAt(2, tmp_path / "x.ckpt"), **settings)
    run = tmp_path / "x" / "version_0"
    whole = published(run)
    fit(make_evaluation(), logger=RunLogger(str(tmp_path), "x", run, 2), ckpt_path=tmp_path / "x.ckpt")
    assert [(line["step"], line["protocol"]) for line in published(run)] == [
        (line["step"], line["protocol"]) for line in whole
    ]


@pytest.mark.parametrize("averaged", [False, True])
def test_training_does_not_notice(averaged):
    def run(*evaluations):
        torch.manual_seed(1)
        _, module = fit(*evaluations, *([EMA(half_life_images=10)] if averaged else []))
        return module, torch.get_rng_state()

    (watched, after_watched), (alone, after_alone) = run(make_evaluation(every_n_steps=1)), run()
    assert torch.equal(after_watched, after_alone)
    expected = alone.state_dict()
    assert watched.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in watched.state_dict().items())
    assert watched.generator.training
    assert watched.discriminator.training


def test_feature_network_is_in_no_checkpoint(tmp_path):
    trainer, module = fit(make_evaluation())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert not any("scale" in name for name in checkpoint["state_dict"])
    assert len(list(module.parameters())) == len(list(make_gan().parameters()))


def test_validate_repeats_the_number_of_the_training_to_the_last_digit(tmp_path, capsys):
    trainer, _ = fit(make_evaluation(), EMA(half_life_images=10), logger=RunLogger(str(tmp_path), "x"))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    in_training = published(tmp_path / "x" / "version_0")[-1]["fd_corners"]
    capsys.readouterr()
    trainer = make_trainer(make_evaluation(), EMA(half_life_images=10))
    trainer.validate(make_gan(), datamodule=Noise(), ckpt_path=tmp_path / "x.ckpt", verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert f"fd_corners: {in_training!r}" in lines
    assert any(line.startswith("protocol: ") and "ema weights" in line for line in lines)
    assert trainer.callback_metrics["fd_corners"] == pytest.approx(in_training)


def test_test_compares_with_the_test_split(capsys):
    make_trainer(make_evaluation()).test(make_gan(), datamodule=Noise(), verbose=False)
    assert "reference noise/test 32x32x1; reference_images 25;" in capsys.readouterr().out


def test_scores_the_modules_samples(tmp_path):
    module = make_gan().eval()
    with torch.no_grad():
        fake, real = (Corners()(images)[0].double() for images in (module.sample(20, seed=0), all_images(Noise())))
    expected = frechet_distance(fake.mean(0), fake.var(0)[:, None], real.mean(0), real.var(0)[:, None])
    fit(make_evaluation(), logger=RunLogger(str(tmp_path), "x"), steps=1)
    assert published(tmp_path / "x" / "version_0")[0]["fd_corners"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("step", [0, 3])
def test_resumed_run_does_not_start_its_curve_again(tmp_path, step):
    fit(make_evaluation(), SaveAt(step, tmp_path / "x.ckpt"))
    fit(make_evaluation(), logger=RunLogger(str(tmp_path), "y"), steps=6, ckpt_path=tmp_path / "x.ckpt")
    assert [line["step"] for line in published(tmp_path / "y" / "version_0")] == ([2, 4, 6] if step == 0 else [4, 6])


def test_two_processes_publish_what_one_does(tmp_path):
    scores = [Frechet(), InceptionScore(3), PrecisionRecall()]
    for name, settings in (("one", {}), ("two", {"devices": 2, "strategy": GANStrategy(start_method="fork")})):
        # 21 samples in blocks of 8: two and a part
        fit(make_evaluation(scores=scores, num_samples=21), logger=RunLogger(str(tmp_path), name), steps=1, **settings)
    one, two = (published(tmp_path / name / "version_0") for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two] == [0, 1]
    assert two[0].pop("protocol") == one[0].pop("protocol")
    for name in one[0].keys() - {"evaluation_seconds", "evaluation_share"}:
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-9)


def write_images(folder):
    """Write the reference's own images as PNGs."""
    from PIL import Image

    data = Noise()
    for number, image in enumerate(all_images(data)):
        folder.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{number:03}.png")


def test_validate_scores_a_folder(tmp_path, capsys):
    write_images(tmp_path / "samples")
    evaluation = make_evaluation(images=str(tmp_path / "samples"))
    trainer = make_trainer(evaluation)
    trainer.validate(make_gan(), datamodule=Noise(), verbose=False)
    assert float(trainer.callback_metrics["fd_corners"]) == pytest.approx(0, abs=1e-9)
    out = capsys.readouterr().out
    source = f"samples 50; source {tmp_path}/samples, made to fit; seed None"
    assert f"{source}; normalization unknown; precision features float32" in out


def test_two_processes_score_a_folder_of_several_splits(tmp_path):
    """Three times 50 images in blocks of 10: each time the first process has three blocks, the second two."""
    (tmp_path / "samples").mkdir()
    for split in "train", "val", "test":
        write_images(tmp_path / "samples" / split)
    found = []
    for settings in {}, {"devices": 2, "strategy": GANStrategy(start_method="fork")}:
        trainer = make_trainer(make_evaluation(images=str(tmp_path / "samples"), batch_size=10), **settings)
        trainer.validate(make_gan(), datamodule=Noise(), verbose=False)
        found.append(float(trainer.callback_metrics["fd_corners"]))
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_images_that_are_not_there_are_named_by_their_argument(tmp_path):
    evaluation = make_evaluation(images=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"images: root '.*nothing' does not exist; a folder or a zip"):
        make_trainer(evaluation).validate(make_gan(), datamodule=Noise(), verbose=False)


def test_each_data_set_is_compared_with_itself():
    """The images of one evaluation are not the reference of the next."""
    shared, found = make_evaluation(), []
    for evaluation in shared, shared, make_evaluation():
        trainer = make_trainer(evaluation)
        trainer.validate(make_gan(), datamodule=Noise(seed=len(found)), verbose=False)
        found.append(float(trainer.callback_metrics["fd_corners"]))
    trainer = make_trainer(shared)
    trainer.validate(make_gan(), datamodule=Noise(seed=2), verbose=False)
    assert float(trainer.callback_metrics["fd_corners"]) == found[2] != found[1]


def test_data_without_a_test_split_cannot_be_tested():
    data = Noise()
    data.splits = ("train",)
    with pytest.raises(ValueError, match="noise has no test split to compare with: use validate, which takes train"):
        make_trainer(make_evaluation()).test(make_gan(), datamodule=data, verbose=False)


def test_collapse_stops_the_training(capsys):
    class Worse(nn.Module):
        """Features that leave those of the reference further behind each time."""

        name = "worse"
        calls = 0

        def forward(self, images):
            self.calls += 1
            return images[:, :, 0, 0].float() * 0 + 2.0**self.calls + torch.arange(len(images))[:, None], None

    collapse = Collapse("fd_worse", factor=2, patience=2)
    trainer, _ = fit(make_evaluation(Worse(), collapse=collapse, every_n_steps=1), steps=50)
    assert trainer.global_step == 2
    assert "stopped at generator step 2: fd_worse was 2 times its best" in capsys.readouterr().out


def test_collapse_is_remembered_by_checkpoints():
    evaluation = make_evaluation(collapse=Collapse("fd_corners"))
    state = {"metric": "fd_corners", "best": 3.0, "worse": 2}
    evaluation.load_state_dict(state)
    assert evaluation.state_dict() == state
    assert make_evaluation().state_dict() == {}
    make_evaluation().load_state_dict(state)


def test_says_before_the_training_what_it_will_cost(capsys):
    fit(make_evaluation(num_samples=2000, every_n_steps=5000))
    said = (
        r"evaluation: 2,000 samples every 5,000 steps, about \d+ s each; first, once for all runs, 50 reference images"
    )
    assert re.search(said, capsys.readouterr().out)
    fit(make_evaluation(num_samples=2000, every_n_steps=5000))
    assert "; first" not in capsys.readouterr().out


def test_shows_its_progress():
    class Bar(ProgressBar):
        def __init__(self):
            super().__init__()
            self.shown = []

        def disable(self):
            pass

        def evaluation_progress(self, done, total):
            self.shown.append((done, total))

    bar = Bar()
    fit(make_evaluation(num_samples=20, batch_size=16), bar, steps=1, enable_progress_bar=True)
    assert bar.shown == [(16, 50), (32, 50), (48, 50), (50, 50), *[(16, 20), (20, 20)] * 2]


def test_other_callbacks_see_the_values(tmp_path):
    trainer, _ = fit(make_evaluation(), logger=RunLogger(str(tmp_path), "x"))
    newest = published(tmp_path / "x" / "version_0")[-1]["fd_corners"]
    assert float(trainer.callback_metrics["fd_corners"]) == pytest.approx(newest)


class Unavailable(nn.Module):
    def forward(self, images):
        raise FileNotFoundError("weights.pth is missing")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"network": Unavailable()}, FileNotFoundError, "weights.pth is missing"),
        ({"split": "valid"}, ValueError, "split must be one of train, test, full_train, got 'valid'"),
        ({"scores": [KernelDistance()]}, ValueError, "subset_size must be at most"),
        ({"scores": [InceptionScore(splits=30)]}, ValueError, "splits must be at most"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(arguments, error, message):
    module = make_gan()
    with pytest.raises(error, match=message):
        fit(make_evaluation(**arguments), module=module)
    expected = make_gan().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in module.state_dict().items())


def test_numbers_of_nothing_are_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        make_evaluation(num_samples=0)


@pytest.fixture
def parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--metrics", type=Evaluation | None)
    return parser


def test_is_written_in_yaml_by_short_names(parser):
    text = """
    class_path: Evaluation
    init_args:
      features: DigitsClassifier
      scores:
        - Frechet
        - class_path: KernelDistance
          init_args: {subset_size: 500}
        - PrecisionRecall
      num_samples: 1000
      collapse: {class_path: Collapse, init_args: {metric: fd_digits}}
    """
    evaluation = parser.instantiate(parser.parse_object({"metrics": yaml.safe_load(text)})).metrics
    assert evaluation.evaluator.name == "digits"
    frechet, kernel, precision_recall = evaluation.evaluator.scores
    assert isinstance(frechet, Frechet)
    assert isinstance(precision_recall, PrecisionRecall)
    assert kernel.subset_size == 500
    assert evaluation.plan.num_samples == 1000
    assert evaluation.collapse.metric == "fd_digits"


def test_a_score_that_does_not_exist_is_an_error(parser):
    with pytest.raises(ArgumentError, match="Fid"):
        parser.parse_object({"metrics": {"class_path": "Evaluation", "init_args": {"scores": ["Fid"]}}})
