"""The training of classifiers: its data, its randomness, and that it goes on as if never interrupted."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import differences, fit, together
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

from convnorm import ConvNorm
from gan.callbacks import AtomicCheckpointIO, Checkpoint
from gan.data import Digits, transfer
from gan.losses import ConvOrthogonality
from gan.norms import ONI, BatchNorm, Conv, Spectral
from gan.runs.checkpoints import read_checkpoint
from gan.runs.logger import RunLogger
from robustness.adversarial import FreeTraining
from robustness.attacks import FGSM
from robustness.building import check_batch_norms, network_of, normalized
from robustness.classifier import Classifier
from robustness.corruptions import GaussianNoise
from robustness.crops import cropped
from robustness.evaluation import Evaluation
from robustness.label_noise import Symmetric
from robustness.networks import ResNet20
from robustness.schedules import Cosine, Drops


class Tiny(nn.Module):
    def __init__(self, width: int = 4, channels: int = 1) -> None:
        super().__init__()
        self.width, self.channels = width, channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 8, 3, 2, bias=False),
        )
        self.linear = nn.Linear(8, 10)

    def forward(self, x):
        return self.linear(self.layers(x).amax((2, 3)))


def tiny(**arguments: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Tiny(), **{"crop": 2, **arguments})


def digits(**arguments: Any) -> Digits:
    return Digits(**{"batch_size": 16, "num_images": 100, "flip": True, **arguments})


def test_a_step_is_that_of_sgd():
    """One step by hand, with torch's own parts alone."""
    module = tiny(crop=0, label_smoothing=0.1, schedule=None)
    network = Tiny()
    network.load_state_dict(module.network.state_dict())
    seen = []
    record = type("Record", (Callback,), {"on_train_batch_start": lambda self, t, m, batch, i: seen.append(batch)})()
    fit(module, 2, [record], data=digits())
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    for images, labels in seen:
        optimizer.zero_grad()
        logits = network(images / 127.5 - 1)
        target = 0.9 * F.one_hot(labels, 10) + 0.01
        (-(target * logits.log_softmax(1)).sum(1).mean()).backward()
        optimizer.step()
    assert differences(module.network.state_dict(), network.state_dict()) < 1e-5


def test_what_is_on_the_device_is_not_sent_again(monkeypatch):
    """On CUDA, sending pins the tensor, which fails for one that is there already."""
    sent: list[torch.Tensor] = []

    def sends_once(x: torch.Tensor, device: torch.device) -> torch.Tensor:
        assert not any(x is each for each in sent)
        sent.append(transfer.send(x.clone(), device))
        return sent[-1]

    users = [module for name, module in sys.modules.items() if name.startswith(("gan.", "robustness."))]
    for module in users:
        if module is not transfer and getattr(module, "send", None) is transfer.send:
            monkeypatch.setattr(module, "send", sends_once)
    fit(tiny(crop=2), 2, data=digits())
    assert len(sent) == 2 * 3  # images, labels and the crops' corners


def test_batch_norms_must_be_those_of_all_processes():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyBatchNorm1d())
    network(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"network.3 is a BatchNorm1d, whose batch"):
        check_batch_norms(normalized(network, []))
    check_batch_norms(normalized(network[:2], []))


def test_it_learns_the_digits():
    module = tiny(norms=[Conv()], schedule=Cosine(), crop=0)
    data = digits(batch_size=32, num_images=300, flip=False)
    fit(module, 100, data=data)
    module.eval()
    source = module.validation_part(data.loaded("train"))
    with torch.no_grad():
        right = module.logits(module.pixels(source.load())).argmax(1) == source.labels
    assert right.float().mean() > 0.3, "guessing gives 0.1"


@pytest.mark.parametrize("fraction", [None, 0.5, 0.25, 0.1])
def test_the_validation_part_is_disjoint_from_training(fraction):
    data, module = digits(num_images=None, fraction=fraction), tiny(validation=0.2)
    source = data.loaded("train")
    assert (source.labels.bincount() - (fraction or 1) * data.labels("full_train").bincount()).abs().max() < 1
    kept, held_back = module.training_part(source), module.validation_part(source)
    as_text = [set(map(bytes, part.load().flatten(1).numpy())) for part in (kept, held_back)]
    assert not as_text[0] & as_text[1]
    assert len(kept) + len(held_back) == len(source)
    assert (held_back.labels.bincount() - 0.2 * source.labels.bincount()).abs().max() <= 1, "a fifth of each class"
    assert not torch.equal(held_back.load(), tiny(validation=0.2, seed=1).validation_part(source).load())


def test_label_noise_is_in_the_training_part_alone():
    source = digits(num_images=None).loaded("train")
    noisy, clean = tiny(label_noise=Symmetric(0.4, include_true=False)), tiny()
    wrong = noisy.training_part(source).labels != clean.training_part(source).labels
    assert wrong.sum() == round(0.4 * len(wrong))
    assert torch.equal(noisy.validation_part(source).labels, clean.validation_part(source).labels)
    assert torch.equal(noisy.training_part(source).load(), clean.training_part(source).load())


def test_the_introduction_names_what_was_changed():
    plain = tiny().introduction
    assert plain == "training Tiny (no norm added; 0.00042 M parameters)"
    changed = tiny(norms=[Conv()], weight_penalty=ConvOrthogonality(), label_noise=Symmetric(0.4))
    assert changed.introduction.startswith("training Tiny (Conv; ")
    assert changed.introduction.endswith("), label noise Symmetric 0.4, ConvOrthogonality")


def test_crops_are_cut_from_a_black_border():
    images = torch.randint(1, 256, (3, 2, 5, 6), dtype=torch.uint8)
    moved = cropped(images, torch.tensor([[2, 2], [0, 2], [2, 4]]), 2)
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :, 2:], images[1, :, :-2])
    assert not moved[1, :, :2].any()
    assert torch.equal(moved[2, :, :, :-2], images[2, :, :, 2:])
    assert not moved[2, :, :, -2:].any()


RECIPES = {
    "conv": {"norms": [Conv()]},
    "adversarial": {"norms": [Spectral()], "adversarial": FreeTraining(repeats=3)},
    "noisy": {"norms": [ONI()], "weight_penalty": ConvOrthogonality(), "label_noise": Symmetric(0.4)},
}


def train(folder: Path, recipe: str, steps: int, processes: int = 1, start: Path | None = None, **more: Any) -> Path:
    """Train, and return the last checkpoint."""
    tested = Evaluation(corruptions=[GaussianNoise()], attacks=[FGSM()], operator_norms=False)
    callbacks = [tested, Checkpoint(every_n_steps=2)]
    kind = {"plugins": [AtomicCheckpointIO("classifier")], "logger": RunLogger(str(folder), "x"), **more}
    torch.manual_seed(99 + steps)  # nothing random depends on it
    fit(tiny(**RECIPES[recipe]), steps, callbacks, data=digits(), processes=processes, ckpt_path=start, **kind)
    return folder / "x" / "version_0" / "checkpoints" / f"step_{steps:08d}.ckpt"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_training_equals_an_unbroken_one(recipe, tmp_path):
    train(tmp_path / "whole", recipe, 4)
    whole = tmp_path / "whole" / "x" / "version_0" / "checkpoints"
    resumed = train(tmp_path / "resumed", recipe, 4, start=whole / "step_00000002.ckpt")
    a, b = (read_checkpoint(path, "classifier") for path in (whole / "step_00000004.ckpt", resumed))
    assert differences(a["state_dict"], b["state_dict"]) == 0
    momenta = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (a, b)]
    assert all(
        torch.equal(one["momentum_buffer"], momenta[1][key]["momentum_buffer"]) for key, one in momenta[0].items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_compute_what_one_does(recipe, tmp_path):
    """In float64, the batch norms of a network of others included, and in the table."""
    precise = {"precision": "64-true"}
    assert together(lambda: train(tmp_path / "one", recipe, 4, **precise), 1) == [0]
    assert together(lambda: train(tmp_path / "two", recipe, 4, 2, **precise)) == [0, 0]
    paths = (tmp_path / name / "x" / "version_0" / "checkpoints" / "step_00000004.ckpt" for name in ("one", "two"))
    one, two = (read_checkpoint(path, "classifier")["state_dict"] for path in paths)
    assert differences(one, two) < 1e-10
    one, two = (json.loads((tmp_path / name / "x/version_0/robustness.json").read_text()) for name in ("one", "two"))
    assert one["rows"] == two["rows"]
    assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-9)


def test_a_checkpoint_knows_its_classes(tmp_path):
    checkpoint = train(tmp_path, "conv", 2)
    assert read_checkpoint(checkpoint, "classifier")["classifier"]["classes"] == list("0123456789")
    others = digits()
    others.classes = ("zero", *others.classes[1:])
    with pytest.raises(ValueError, match="networks know class 0 as '0': it is 'zero' now"):
        fit(tiny(**RECIPES["conv"]), 4, data=others, ckpt_path=checkpoint, plugins=[AtomicCheckpointIO("classifier")])
    others.num_classes = 0
    with pytest.raises(ValueError, match="a classifier needs at least 2 classes, the images of digits have no labels"):
        fit(tiny(), 1, data=others)


def test_free_training_steps_on_the_images_it_has_changed():
    """Two updates of a step by hand."""
    module = tiny(crop=0, schedule=None, adversarial=FreeTraining(repeats=2, epsilon=4, step_size=6))
    network = Tiny()
    network.load_state_dict(module.network.state_dict())
    seen = []
    record = type("Record", (Callback,), {"on_train_batch_start": lambda self, t, m, batch, i: seen.append(batch)})()
    fit(module, 1, [record], data=digits())
    ((images, labels),) = seen
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    x = (images / 255).requires_grad_()
    F.cross_entropy(network(2 * x - 1), labels).backward()
    optimizer.step()
    optimizer.zero_grad()
    changed = (x.detach() + 4 / 255 * x.grad.sign()).clamp(0, 1)
    F.cross_entropy(network(2 * changed - 1), labels).backward()
    optimizer.step()
    assert differences(module.network.state_dict(), network.state_dict()) < 1e-5


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [(Drops(), [1, 1, 0.1, 0.1, 0.01, 0.01]), (Cosine(), [1, 0.933, 0.75, 0.5, 0.25, 0.067]), (None, [1] * 6)],
    ids=["drops", "cosine", "none"],
)
def test_learning_rates_follow_the_schedule(schedule, factors):
    rates = []
    look = {"on_train_batch_end": lambda self, t, module, *_: rates.append(module.learning_rates()["network"])}
    fit(tiny(schedule=schedule), 6, [type("Look", (Callback,), look)()], data=digits())
    assert rates == pytest.approx([0.1 * factor for factor in factors], rel=1e-2)
    assert Cosine(warmup=0.5)(0.25) == 0.5


def test_linear_layers_stay_plain():
    assert type(tiny(norms=[Spectral()]).network.linear) is nn.Linear
    assert hasattr(tiny(norms=[Spectral()]).network.layers[0], "parametrizations")


def test_batch_norms_of_others_become_those_of_all_processes():
    module = tiny(norms=[Conv()])
    assert isinstance(module.network.layers[0], ConvNorm)
    assert type(module.network.layers[1]) is BatchNorm


def test_a_network_comes_back_from_its_checkpoint(tmp_path):
    module = Classifier(ResNet20(width=8, channels=1), norms=[Conv(), Spectral()])
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict(), "classifier": module.facts()}
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(network_of(checkpoint)(x * 2 - 1), module.eval().logits(x))
    with pytest.raises(ValueError, match="keeps no record of its arguments"):
        network_of({"classifier": Classifier(resnet18(num_classes=10)).facts()})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 0.0}, "validation must be between 0 and 1, got 0.0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, got 1.0"),
        ({"crop": -1}, "crop must be at least 0, got -1"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)
