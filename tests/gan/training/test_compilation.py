"""Training with compiled networks is training."""

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, small_gan
from torch import nn
from torch._dynamo.utils import counters

from gan.losses import R1
from gan.norms import Batch, Spectral


class Losses(Callback):
    """Keeps what there is to watch of every step."""

    def __init__(self):
        self.of_steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.of_steps.append({name: float(value) for name, value in outputs.items()})


def train(compiled):
    module, losses = small_gan(generator_norms=[Batch()], discriminator_norms=[Spectral()], compile=compiled), Losses()
    fit(module, 50, [losses], precision="64-true")
    return module, losses.of_steps


@pytest.mark.slow
def test_fifty_steps_are_those_of_the_networks_as_they_are():
    torch.compiler.reset()
    plain, its_losses = train(False)
    counters.clear()  # of what other tests compiled
    compiled, losses = train(True)
    assert counters["stats"]["unique_graphs"] > 0
    for ours, theirs in zip(losses, its_losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


@pytest.mark.parametrize(("penalty", "networks"), [(None, ["generator", "discriminator"]), (R1(), ["generator"])])
def test_a_discriminator_with_a_penalty_stays_as_it_is(penalty, networks, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compiled.append(self))
    module = small_gan(penalty=penalty, compile=True)
    fit(module, 1)
    assert compiled == [getattr(module, network) for network in networks]


@pytest.mark.slow
def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch):
    def fail(graph, inputs):
        raise RuntimeError("no compiler\nand much more")

    torch.compiler.reset()
    monkeypatch.setattr("gan.training.compilation.lookup_backend", lambda name: fail)
    plain, its_losses = train(False)
    with pytest.warns(UserWarning, match=r"the networks run as they are, .* \(RuntimeError: no compiler\)"):
        compiled, losses = train(True)
    assert losses == its_losses
    assert all(
        torch.equal(*pair) for pair in zip(plain.state_dict().values(), compiled.state_dict().values(), strict=True)
    )
