"""Numbers that are not finite end a training before they are saved."""

import math
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, small_gan, together

from gan.callbacks import Checkpoint
from gan.losses import Hinge
from gan.norms import Batch
from gan.runs.checkpoints import read_checkpoint
from gan.runs.folder import checkpoints
from gan.runs.logger import RunLogger
from gan.training.health import STEPS_BETWEEN_CHECKS, Health


class Spoil(Callback):
    """Puts a number into a network before generator step 4 is made."""

    def __init__(self, choose, value=math.nan):
        self.choose, self.value = choose, value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3:
            with torch.no_grad():
                self.choose(pl_module).view(-1)[0] = self.value


class Overflow(Hinge):
    """A loss that is infinite in generator step 4, with gradients that are not."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def discriminator(self, real, fake):
        self.calls += 1
        return super().discriminator(real, fake) + (math.inf if (self.network, self.calls) == ("d", 4) else 0)

    def generator(self, fake):
        return super().generator(fake) - (math.inf if (self.network, self.calls) == ("g", 4) else 0)


def train(root: Path, *callbacks: Callback, every_n_steps: int = 1, **arguments) -> Path:
    """Train until the error; return the run."""
    logger = RunLogger(str(root), "x")
    module = small_gan(generator_norms=[Batch()], **arguments)
    with pytest.raises(FloatingPointError, match="the training stops, its checkpoints stay as they are") as error:
        fit(module, 9, [*callbacks, Checkpoint(every_n_steps, keep=0)], logger=logger)
    (Path(logger.log_dir) / "error").write_text(str(error.value))
    return Path(logger.log_dir)


SPOILT = {
    "a weight of D": (
        lambda module: module.discriminator.head.linear.weight,
        math.nan,
        "step 4: the discriminator's loss is nan",
    ),
    "a weight of G": (
        lambda module: module.generator.project.weight,
        math.inf,
        "step 4: the discriminator's loss is nan",
    ),
    "a running statistic of G": (
        lambda module: module.generator.norm.running_var,
        math.inf,
        "step 4: the generator's norm of all weights is inf",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_not_finite_is_named_in_the_same_step(tmp_path, case):
    choose, value, message = SPOILT[case]
    run = train(tmp_path, Spoil(choose, value))
    assert (run / "error").read_text().startswith(message)
    assert list(checkpoints(run)) == [0, 1, 2, 3]
    for path in checkpoints(run).values():
        state = read_checkpoint(path)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize(("network", "name", "value"), [("d", "discriminator", "inf"), ("g", "generator", "-inf")])
def test_an_infinite_loss(tmp_path, network, name, value):
    run = train(tmp_path, loss=Overflow(network))
    assert (run / "error").read_text().startswith(f"step 4: the {name}'s loss is {value}")
    assert list(checkpoints(run)) == [0, 1, 2, 3]


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_an_update_that_overflows_names_its_network(tmp_path, network):
    """The losses of the first step are finite, the weights after it are not."""
    run = train(tmp_path, **{f"{network}_optimizer": lambda parameters: torch.optim.SGD(parameters, lr=math.inf)})
    assert (run / "error").read_text().startswith(f"step 1: the {network}'s norm of all weights is")
    assert list(checkpoints(run)) == [0]


def test_a_late_look_names_the_first_number():
    """On a GPU the host looks every so many steps: nothing may get lost between."""
    health, fine = Health(), torch.tensor(1.0)
    due = []
    for step in range(1, 2 * STEPS_BETWEEN_CHECKS + 1):
        health.begin(step)
        health.add_loss("discriminator", health.values_to_average(fine))
        loss = torch.tensor(math.nan) if step in (13, 14) else fine
        health.add_loss("generator", health.values_to_average(loss))
        if health.is_due("cuda"):
            due.append(step)
            if step < 20:
                health.check()
    assert due == [10, 20]
    with pytest.raises(FloatingPointError, match="step 13: the generator's loss is nan"):
        health.check()


def test_nothing_is_saved_without_a_look(tmp_path, monkeypatch):
    """On a GPU the step that saves may not be one of those that look."""
    monkeypatch.setattr(Health, "is_due", lambda *_: False)
    choose, value, message = SPOILT["a weight of G"]
    run = train(tmp_path, Spoil(choose, value), every_n_steps=3)
    assert (run / "error").read_text().startswith(message)
    assert list(checkpoints(run)) == [0, 3]  # the numbers of step 4 are seen in step 6


def test_a_wish_is_known_to_all_who_look():
    health = Health()
    health.check()  # before the first step there is nothing to see
    assert not health.should_stop
    health.stop_requested = True
    health.add_loss("generator", health.values_to_average(torch.tensor(2.0, requires_grad=True)))
    health.check()
    assert health.should_stop


def test_a_look_keeps_what_was_decided_and_nothing_else():
    health = Health()
    health.should_stop = True  # an evaluation gave way
    health.add_loss("generator", health.values_to_average(torch.tensor(2.0)))  # when nobody wished it any more
    health.check()
    assert health.should_stop
    assert not health._quantities, "they would pile up over the training"


@pytest.mark.slow
def test_two_processes_stop_in_the_same_step(tmp_path):
    """One process alone has the bad number."""

    class SpoilSecond(Spoil):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_rank == 1 and trainer.global_step == 3:
                pl_module.discriminator.register_forward_pre_hook(lambda _, given: (given[0] * math.nan, *given[1:]))

    def run():
        callbacks = [SpoilSecond(None), Checkpoint(every_n_steps=1, keep=0)]
        with pytest.raises(FloatingPointError, match="step 4: the discriminator's loss is nan"):
            fit(small_gan(), 9, callbacks, processes=2, logger=RunLogger(str(tmp_path), "x"))

    assert together(run) == [0, 0]
    assert list(checkpoints(tmp_path / "x" / "version_0")) == [0, 1, 2, 3]
