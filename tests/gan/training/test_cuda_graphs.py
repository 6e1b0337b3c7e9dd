"""Updates that are replayed are the updates themselves. Where there is no GPU, a recorder of operations stands in."""

import itertools
import warnings

import pytest
import torch
from recorded_operations import capture
from small_trainings import fit, small_gan
from torch import nn

from gan.augment import ADA, Pipe
from gan.losses import R1, WGANGP, BalancedConsistency, LatentConsistency, LeCam, Orthogonality, Relativistic
from gan.norms import ONI, Batch, Conv, Mixture, Orthogonal, Spectral, SpectralOperator
from gan.schedules import Cosine
from gan.training import cuda_graphs
from gan.training.batch import Batch as Images
from gan.training.batch import Draws

STEPS = 8


@pytest.fixture
def stand_in(monkeypatch):
    """Record operations instead of kernels: called with a module, whose state the recording leaves alone."""
    recorded = []

    def begin(module):
        def stored():
            return [*module.parameters(), *module.buffers()]

        def recording(run):
            recorded.append(run)
            return capture(run, stored)

        monkeypatch.setattr(cuda_graphs, "capture", recording)
        monkeypatch.setattr(cuda_graphs, "_watched", lambda compute, batch: (compute(batch), None))
        monkeypatch.setattr("gan.module.reason_against", lambda device, processes: None)

    begin.recorded = recorded
    return begin


def same(plain, graphed):
    ours, theirs = plain.state_dict(), graphed.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


CASES = {  # what is trained, and how many graphs are recorded
    "two passes": (lambda: {"discriminator_norms": [Batch()], "joint_pass": False}, 2),
    "lazy": (lambda: {"penalty": R1(Cosine(2.0, 1.0, 100), every=2), "discriminator_steps": 2}, 3),
}
SLOW_CASES = {
    "spectral": (lambda: {"discriminator_norms": [Spectral()], "generator_norms": [Batch()]}, 2),
    "convolutional": (lambda: {"discriminator_norms": [Conv(), Spectral()], "generator_norms": [Conv()]}, 2),
    "operator": (lambda: {"discriminator_norms": [SpectralOperator()]}, 2),
    "orthogonal": (lambda: {"discriminator_norms": [ONI()], "generator_norms": [Orthogonal()]}, 2),
    "mixture": (lambda: {"discriminator_norms": [Mixture(2)]}, 2),
    "penalties": (lambda: {"penalty": [WGANGP(), LatentConsistency(), LeCam(start=4)]}, 3),
    "in parts": (lambda: {"penalty": BalancedConsistency(), "micro_batches": 2, "discriminator_steps": 2}, 2),
    "pairs, weights": (lambda: {"loss": Relativistic(), "discriminator_weight_penalty": Orthogonality()}, 2),
    "adaptive": (lambda: {"augment": ADA(images_to_one=100, every=1)}, 2),
    "scheduled": (lambda: {"augment": Pipe(Cosine(1.0, 0.0, 100))}, 2),
}


@pytest.mark.parametrize(
    ("arguments", "recordings"),
    [pytest.param(*case, id=name) for name, case in CASES.items()]
    + [pytest.param(*case, id=name, marks=pytest.mark.slow) for name, case in SLOW_CASES.items()],
)
def test_replayed_updates_are_the_updates(arguments, recordings, stand_in):
    plain, graphed = small_gan(**arguments()), small_gan(**arguments(), cuda_graphs=True)
    fit(plain, STEPS)
    stand_in(graphed)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="model.cuda_graphs")
        fit(graphed, STEPS)
    assert len(stand_in.recorded) == recordings
    assert same(plain, graphed)


def test_without_a_gpu_the_training_is_the_same_and_says_so():
    plain, graphed = small_gan(), small_gan(cuda_graphs=True)
    fit(plain, 2)
    with pytest.warns(UserWarning, match=r"the updates run without CUDA graphs \(the device is cpu\)"):
        fit(graphed, 2)
    assert same(plain, graphed)


# One network by hand: its weight is w, an update's gradient the mean of its images times what the test says.


class ByHand(nn.Module):
    def __init__(self, factor=lambda: 1.0):
        super().__init__()
        self.w, self.factor, self.passes = nn.Parameter(torch.tensor(2.0)), factor, 0
        self.graphs = cuda_graphs.UpdateGraphs(self)

    def compute(self, batch):
        self.passes += 1
        self.w.grad = None
        loss = self.w * batch.real.mean() * self.factor()
        loss.backward()
        return {"loss": loss.detach()}

    def update(self, value, phase=None, count=4):
        nothing = torch.zeros(count, 0)
        batch = Images(torch.full((count, 1, 2, 2), value), nothing, Draws(nothing, nothing, nothing, nothing))
        computed = self.graphs.compute("discriminator", phase, self.compute, batch, [self.w])
        return float(computed["loss"]), float(self.w.grad)


def test_updates_are_replayed_after_the_warm_up(stand_in):
    network = ByHand()
    stand_in(network)
    for value in 1.0, 2.0, 3.0, 4.0, 5.0, 6.0:
        assert network.update(value) == (2 * value, value)
    assert network.passes == cuda_graphs.WARM_UP + 1, "then nothing is left to Python"
    assert network.update(7.0, count=3) == (14.0, 7.0), "other shapes are another computation"


def test_what_was_reported_stays_when_the_next_update_is_replayed(stand_in):
    network = ByHand()
    stand_in(network)
    nothing = torch.zeros(4, 0)
    reports = []
    for value in range(8):
        batch = Images(torch.full((4, 1, 2, 2), float(value)), nothing, Draws(*[nothing] * 4))
        reports.append(network.graphs.compute("generator", None, network.compute, batch, [network.w]))
    assert [float(each["loss"]) for each in reports] == [2.0 * value for value in range(8)]


def test_updates_that_always_differ_run_without_graphs(stand_in):
    number = itertools.count(1)
    network = ByHand(lambda: next(number))
    stand_in(network)
    with pytest.warns(
        UserWarning, match=r"discriminator's updates run .* \(it has more than 8 kinds of updates\)"
    ) as said:
        found = [network.update(1.0, phase=phase)[1] for phase in range(20)]
    assert found == [float(factor) for factor in range(1, 21)]
    assert len(said) == 1
    assert not stand_in.recorded


def test_what_cannot_be_recorded_runs_without_graphs(stand_in):
    network = ByHand()
    network.factor = lambda: network.w.detach().item() / 2  # a look at the device
    stand_in(network)
    with pytest.warns(UserWarning, match=r"without CUDA graphs \(RuntimeError: operation not permitted") as said:
        found = [network.update(float(value)) for value in range(8)]
    assert found == [(2.0 * value, float(value)) for value in range(8)]
    assert len(said) == 1


def test_what_waits_for_the_device_is_not_recorded(stand_in, monkeypatch):
    network = ByHand()
    stand_in(network)
    monkeypatch.setattr(cuda_graphs, "_watched", lambda compute, batch: (compute(batch), "norm.py:3 waits"))
    with pytest.warns(UserWarning, match=r"without CUDA graphs \(norm.py:3 waits\)"):
        found = [network.update(float(value)) for value in range(8)]
    assert found == [(2.0 * value, float(value)) for value in range(8)]
    assert not stand_in.recorded


def test_buffers_that_are_replaced_are_noticed(stand_in):
    network = ByHand()
    network.register_buffer("total", torch.zeros(()))

    def factor():
        network.total = network.total + 1  # another tensor: a graph would go on reading this one
        return network.total

    network.factor = factor
    stand_in(network)
    with pytest.warns(UserWarning, match="another tensor in the place of a buffer"):
        found = [network.update(1.0)[1] for _ in range(8)]
    assert found == [float(number) for number in range(1, 9)]
    assert not stand_in.recorded
