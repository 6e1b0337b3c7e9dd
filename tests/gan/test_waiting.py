"""Between two looks at what must be finite, no step waits for the device: a GPU's queue never runs dry."""

import traceback
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import ARCHITECTURES, fit, small_gan
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gan.callbacks import EMA, Monitor
from gan.losses import R1
from gan.norms import Batch, Conv, Spectral
from gan.runs.logger import RunLogger
from gan.training.health import STEPS_BETWEEN_CHECKS, Health

aten = torch.ops.aten
BY_OPERATION = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten._unique2, aten.lift_fresh}
BY_METHOD = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu}  # on the host they are no operations
ON_THE_HOST = "gan/data/", "gan/randomness.py"  # what they look at is not on the device


class Waits:
    """Notes what would wait for a GPU, and where it was called."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._modes = _Operations(self), _Methods(self)

    def begin(self) -> None:
        for mode in self._modes:
            mode.__enter__()

    def end(self) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(None, None, None)

    def note(self, what: object) -> None:
        stack = "".join(traceback.format_stack())
        if not any(place in stack for place in ON_THE_HOST):
            self.found.append(f"{what}\n{stack}")


class _Operations(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func.overloadpacket is aten.index and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func.overloadpacket in BY_OPERATION or by_mask:
            self.waits.note(func)
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in BY_METHOD:
            self.waits.note(func)
        return func(*args, **(kwargs or {}))


class Between(Callback):
    """Looks from the start of one step to the start of another."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.waits = first, last, Waits()

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.first:
            self.waits.begin()
        if trainer.global_step == self.last:
            self.waits.end()


def run(tmp_path, monkeypatch, first: int, last: int, **arguments: Any) -> list[str]:
    """Return what waited between two steps of a training, which looks as seldom as on a GPU."""
    monkeypatch.setattr(Health, "is_due", lambda self, device_type, due=Health.is_due: due(self, "cuda"))
    between = Between(first, last)
    callbacks = [EMA(half_life_images=100), Monitor(every_n_steps=STEPS_BETWEEN_CHECKS), between]
    logger = RunLogger(str(tmp_path), "run")
    fit(small_gan(**arguments), last + 1, callbacks, logger=logger, log_every_n_steps=STEPS_BETWEEN_CHECKS)
    return between.waits.found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"discriminator_norms": [Spectral()], "discriminator_steps": 2},
        {"discriminator_norms": [Conv()], "generator_norms": [Batch()], "channels_last": True},
        {"discriminator_norms": [Batch()], "penalty": R1(), "micro_batches": 2},
    ],
    ids=["spectral", "conv", "penalty"],
)
def test_a_step_does_not_wait_for_the_device(tmp_path, monkeypatch, architecture, arguments):
    found = run(tmp_path, monkeypatch, 2, STEPS_BETWEEN_CHECKS - 1, architecture=architecture, **arguments)
    assert not found, found[0]


def test_a_look_is_seen(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, 2, STEPS_BETWEEN_CHECKS + 1)
    assert found
    assert all("health.py" in stack or "callbacks" in stack or "runs.py" in stack for stack in found)
