"""What processes exchange: averages of gradients, whatever their memory formats."""

import pytest
import torch
import torch.distributed as dist
from small_trainings import together
from torch import nn

from gan import distributed
from gan.distributed import average_gradients

FORMATS = torch.contiguous_format, torch.channels_last


def parameters(of_parameters: torch.memory_format, of_gradients: torch.memory_format, seed: int) -> list[nn.Parameter]:
    """Return weights of a convolution, of a 1x1 one, a bias and one without a gradient."""
    random = torch.Generator().manual_seed(seed)
    made = []
    for shape in (4, 3, 3, 2), (4, 3, 1, 1), (4,):
        of_four = len(shape) == 4
        x, grad = (torch.randn(shape, generator=random) for _ in range(2))
        parameter = nn.Parameter(x.contiguous(memory_format=of_parameters) if of_four else x)
        parameter.grad = grad.contiguous(memory_format=of_gradients) if of_four else grad
        made.append(parameter)
    return [*made, nn.Parameter(torch.zeros(2))]


@pytest.mark.parametrize("of_parameters", FORMATS)
@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_are_means_in_their_own_memory_format(of_parameters, mixed, capfd):
    """Also where the processes' gradients have different ones."""

    def of(rank):
        return FORMATS[rank] if mixed else of_parameters

    both = [parameters(of_parameters, of(rank), seed=rank) for rank in range(2)]
    means = [(one.grad + two.grad) / 2 for one, two in zip(*both, strict=True) if one.grad is not None]

    def check() -> None:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        strides = [each.grad.stride() for each in both[rank][:-1]]
        values = average_gradients(both[rank], torch.tensor([1.0 + rank]))
        assert values.tolist() == [1.5]
        for parameter, mean, stride in zip(both[rank][:-1], means, strides, strict=True):
            assert torch.equal(parameter.grad, mean)
            assert parameter.grad.stride() == stride
        dist.destroy_process_group()

    assert together(check) == [0, 0], capfd.readouterr().err


@pytest.mark.parametrize("memory_format", FORMATS)
def test_flattening_a_gradient_copies_nothing(memory_format):
    for parameter in parameters(memory_format, memory_format, seed=0)[:-1]:
        flat = distributed._as_in_memory(parameter.grad, parameter).flatten()
        assert flat.data_ptr() == parameter.grad.data_ptr()
