"""Operator norms of the layers: shared by processes, and what they say of weights that are not finite."""

import pytest
import torch
import torch.distributed as dist
from small_trainings import together
from torch import nn

from convnorm import ConvNorm
from convnorm.spectra import operator_norm
from gan.callbacks import operator_norms as callback
from gan.callbacks.operator_norms import operator_norms

IMAGES = torch.zeros(1, 2, 4, 4)


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3), ConvNorm(nn.Conv2d(3, 2, 2)), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(2, 1)
    return nn.Sequential(*layers)


def in_two_processes(check, capfd) -> None:
    def one_of_two() -> None:
        dist.init_process_group("gloo")
        check(dist.get_rank())
        dist.destroy_process_group()

    assert together(one_of_two) == [0, 0], capfd.readouterr().err


def test_processes_share_the_layers(monkeypatch, capfd):
    expected = operator_norms(network(), IMAGES)

    def check(rank):
        measured = []
        monkeypatch.setattr(callback, "operator_norm", lambda *of: measured.append(of) or operator_norm(*of))
        found = operator_norms(network(), IMAGES)
        assert list(found.items()) == list(expected.items()), "the same bits, in the same order"
        assert len(measured) == len(range(rank, len(expected), 2))

    in_two_processes(check, capfd)


def test_every_process_refuses_weights_that_are_not_finite(capfd):
    broken = network()
    broken[2].weight.data[0] = torch.nan

    def check(rank):
        with pytest.raises(ValueError, match="weights must be finite"):
            operator_norms(broken, IMAGES)

    in_two_processes(check, capfd)
