"""Optimizers whose fused step is chosen after they are made."""

import torch
from torch import nn

from gan.training.optimizers import _fuse, make_optimizer


def test_adagrads_counters_are_on_the_parameters_device() -> None:
    """It makes them in its constructor, on the host, where a fused step on a GPU refuses them."""
    optimizer = _fuse(torch.optim.Adagrad(nn.Linear(2, 3, device="meta").parameters()))
    assert optimizer.param_groups[0]["fused"] is True
    assert [state["step"].device.type for state in optimizer.state.values()] == ["meta", "meta"]


def test_a_fused_adagrad_steps_as_a_plain_one() -> None:
    torch.manual_seed(0)
    network = nn.Linear(2, 3)
    other = nn.Linear(2, 3)
    other.load_state_dict(network.state_dict())
    ours = make_optimizer("optimizer", torch.optim.Adagrad, network)
    plain = torch.optim.Adagrad(other.parameters(), foreach=False)
    for _ in range(3):
        for module, optimizer in (network, ours), (other, plain):
            optimizer.zero_grad()
            module(torch.ones(1, 2)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(dict(network.state_dict()), dict(other.state_dict()))
