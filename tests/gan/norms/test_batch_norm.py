"""Batch normalization over two processes against torch's own over the whole batch."""

import pytest
import torch
import torch.distributed as dist
from small_trainings import together
from torch import Tensor, nn

from gan.norms import BatchNorm


def outcome(norm: nn.Module, x: Tensor, direction: Tensor, penalized: bool) -> list[Tensor]:
    """The output, the gradients of a loss, and of a penalty on its gradient too if asked for; running statistics."""
    x = x.clone().requires_grad_()
    y = norm(x)
    loss = (y.sin() * direction).sum()
    if penalized:
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        loss = loss + slope.square().sum()
    leaves = [x, *norm.parameters()]
    statistics = norm.running_mean, norm.running_var, norm.num_batches_tracked.double()
    return [y, *torch.autograd.grad(loss, leaves), *statistics]


@pytest.mark.parametrize("penalized", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_two_processes_normalize_as_one(dtype, affine, penalized, capfd):
    torch.manual_seed(0)
    images = 100 + torch.randn(6, 5, 4, 3, dtype=torch.float64)  # far from zero, where sums in half precision lose all
    images = images.to(dtype).contiguous(memory_format=torch.channels_last)
    direction = torch.randn(6, 5, 4, 3, dtype=torch.float64)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    ours, theirs = BatchNorm(5, affine=affine).to(exact), nn.BatchNorm2d(5, affine=affine).double()
    if affine:
        nn.init.normal_(ours.weight, 1, 0.3)
        theirs.load_state_dict(ours.state_dict())
    whole = outcome(theirs, images.double(), direction, penalized)

    def one_of_two() -> None:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        of_x, *of_parameters = (half.double() for half in _halves(ours, images, direction, penalized, rank))
        expected_y, expected_x = (tensor.chunk(2)[rank] for tensor in whole[:2])
        tolerance = 1e-11 if dtype == torch.float64 else 0.1
        close = {"rtol": tolerance, "atol": tolerance}
        torch.testing.assert_close(of_x, expected_y, **close)
        torch.testing.assert_close(of_parameters[0], expected_x, **close)
        for found, expected in zip(of_parameters[1:], whole[2:], strict=True):
            torch.testing.assert_close(found, expected, **close)
        dist.destroy_process_group()

    assert together(one_of_two) == [0, 0], capfd.readouterr().err


def _halves(norm: nn.Module, images: Tensor, direction: Tensor, penalized: bool, rank: int) -> list[Tensor]:
    """What one process finds for its half; the parameters' gradients are summed over both."""
    found = outcome(norm, images.chunk(2)[rank], direction.chunk(2)[rank], penalized)
    count = len(list(norm.parameters()))
    for gradient in found[2 : 2 + count]:
        dist.all_reduce(gradient)
    return found


@pytest.mark.parametrize("affine", [False, True])
def test_the_kernel_gets_what_that_of_gpus_asks_for(affine, monkeypatch, capfd):
    """That one has no sums without a weight, and takes no backward pass without what a forward pass saves."""
    backward = torch.ops.aten.native_batch_norm_backward

    def demanding(grad, x, weight, mean, var, save_mean, save_inverse, *rest):
        assert all(isinstance(each, Tensor) for each in (weight, save_mean, save_inverse))
        return backward(grad, x, weight, mean, var, save_mean, save_inverse, *rest)

    monkeypatch.setattr(torch.ops.aten, "native_batch_norm_backward", demanding)

    def one_of_two() -> None:
        dist.init_process_group("gloo")
        BatchNorm(3, affine=affine)(torch.randn(2, 3, 4, 4, requires_grad=True)).sum().backward()
        dist.destroy_process_group()

    assert together(one_of_two) == [0, 0], capfd.readouterr().err
