"""Mixture norm: one component is batch norm, clusters are found and normalized one by one."""

import copy

import pytest
import torch
import torch.distributed as dist
from small_trainings import together
from torch import nn

from gan.norms import BatchNorm, Mixture, MixtureNorm, NormSite

MEANS = torch.tensor([[-9.0, 4.0, 0.0], [8.0, 9.0, -7.0], [3.0, -8.0, 9.0]])
DEVIATIONS = torch.tensor([0.5, 1.0, 2.0])


def clustered(n=8, seed=0):
    """Images (n, 3, 16, 16) of three clusters of different size and spread, and which cluster each pixel is of."""
    random = torch.Generator().manual_seed(seed)
    cluster = torch.rand(n, 16, 16, generator=random).mul(4).long().clamp_max(2)  # 1/4, 1/4, 1/2
    noise = torch.randn(n, 16, 16, 3, generator=random)
    return (MEANS[cluster] + noise * DEVIATIONS[cluster][..., None]).movedim(3, 1), cluster


def test_one_component_is_batch_norm():
    torch.manual_seed(0)
    ours, theirs = MixtureNorm(5, components=1).double(), BatchNorm(5).double()
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict({"weight": ours.weight, "bias": ours.bias}, strict=False)
    for _ in range(3):
        x = (100 + torch.randn(6, 5, 40, 13, dtype=torch.float64)).requires_grad_()
        direction = torch.randn_like(x)
        outcomes = []
        for norm in ours, theirs:
            y = norm(x)
            outcomes.append([y, *torch.autograd.grad((y.sin() * direction).sum(), [x, norm.weight, norm.bias])])
        torch.testing.assert_close(*outcomes, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.running_means[0], theirs.running_mean)
    torch.testing.assert_close(ours.running_variances[0], theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_found_and_each_is_normalized(seed):
    norm = MixtureNorm(3, seed=seed)
    for step in range(60):
        x, cluster = clustered(seed=step)
        y = norm(x)
    for k in range(3):
        own = y.movedim(1, 3)[cluster == k].detach()
        share = float((cluster == k).double().mean())
        assert float(own.mean()) == pytest.approx(0, abs=0.05)
        assert float(own.square().mean()) == pytest.approx(1 / (3 * share), rel=0.05)
    assert float(y.detach().square().mean()) == pytest.approx(1, rel=0.02)
    torch.testing.assert_close(norm.eval()(x), y, atol=0.5, rtol=0)  # averages of 60 batches are near those of one
    order = norm.running_means[:, 0].argsort()
    torch.testing.assert_close(norm.running_means[order], MEANS[[0, 2, 1]], atol=0.1, rtol=0)
    deviations = norm.running_variances[order].sqrt()
    torch.testing.assert_close(deviations, DEVIATIONS[[0, 2, 1], None].expand(3, 3), rtol=0.05, atol=0)


def test_before_training_it_is_the_identity():
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(MixtureNorm(4).eval()(x), x, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_evaluation_is_exact():
    norm = MixtureNorm(3)
    for step in range(5):
        norm(clustered(seed=step)[0])
    norm = norm.double().eval()
    x = (2 * torch.randn(1, 3, 2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(norm, x)
    assert torch.autograd.gradgradcheck(norm, x)


def test_a_copy_from_the_state_goes_on_bit_for_bit():
    norm = MixtureNorm(3, seed=3)
    for step in range(3):
        norm(clustered(seed=step)[0])
    again = MixtureNorm(3, seed=3)
    again(clustered(seed=99)[0])  # has begun, elsewhere
    again.load_state_dict(copy.deepcopy(norm.state_dict()))
    untouched = MixtureNorm(3, seed=3)
    untouched.load_state_dict(copy.deepcopy(norm.state_dict()))
    for step in range(3, 6):
        x = clustered(seed=step)[0]
        expected = norm(x)
        assert torch.equal(again(x), expected)
        assert torch.equal(untouched(x), expected)
    for key, value in norm.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_loading_a_state_before_training_starts_anew():
    fresh, used = MixtureNorm(3), MixtureNorm(3)
    x = clustered(seed=1)[0]
    used(clustered(seed=0)[0])
    used.load_state_dict(MixtureNorm(3).state_dict())
    assert torch.equal(used(x), fresh(x))


@pytest.mark.parametrize("channels_last", [False, True])
def test_two_processes_normalize_as_one(channels_last, capfd):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    batches = [clustered(seed=step)[0].double().contiguous(memory_format=layout) for step in range(3)]
    direction = torch.randn(batches[0].shape, generator=torch.Generator().manual_seed(0)).double()

    def outcome(norm, part):
        for batch in batches:
            x = part(batch).requires_grad_()
            y = norm(x)
        (slope,) = torch.autograd.grad((y.sin() * part(direction)).sum(), x, create_graph=True)
        (of_penalty,) = torch.autograd.grad(slope.square().sum(), norm.weight)
        return y, slope, of_penalty, norm.state_dict()

    expected_y, expected_slope, expected_penalty, expected_state = outcome(MixtureNorm(3).double(), torch.clone)

    def one_of_two() -> None:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        y, slope, of_penalty, state = outcome(MixtureNorm(3).double(), lambda x: x.chunk(2)[rank].clone())
        close = {"rtol": 1e-10, "atol": 1e-10}
        torch.testing.assert_close(y, expected_y.chunk(2)[rank], **close)
        torch.testing.assert_close(slope, expected_slope.chunk(2)[rank], **close)
        dist.all_reduce(of_penalty)
        torch.testing.assert_close(of_penalty, expected_penalty, **close)
        for key, value in expected_state.items():
            torch.testing.assert_close(state[key], value, **close)
        dist.destroy_process_group()

    assert together(one_of_two) == [0, 0], capfd.readouterr().err


def test_half_precision_comes_back_as_it_came():
    x = clustered()[0].bfloat16().contiguous(memory_format=torch.channels_last)
    y = Mixture()(NormSite(3))(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(components=0), "Mixture: components must be at least 1, got 0"),
        (lambda: Mixture(seed=-1), "Mixture: seed must be between 0 and"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
