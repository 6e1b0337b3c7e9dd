"""Compiled augmentation is augmentation."""

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config

from gan.augment import ADA, DiffAugment
from gan.training.compilation import compile_network


@pytest.mark.slow
@pytest.mark.parametrize("make", [DiffAugment, ADA])
@config.patch(compile_threads=1)  # in this process: the pool of compilers may have been closed by another test
def test_images_and_gradients_are_those_of_the_plain_one(make):
    torch.compiler.reset()
    counters.clear()
    plain, compiled = make(), make()
    for augment in (plain, compiled):
        if isinstance(augment, ADA):
            augment.images_up.fill_(augment.images_to_one)  # p is 1
    compile_network(compiled)
    torch.manual_seed(0)
    images, draws = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last), torch.rand(4, plain.numbers)
    results = []
    for augment in (plain, compiled):
        x = images.clone().requires_grad_()
        changed = augment(x, draws)
        results.append((changed, *torch.autograd.grad(changed.square().sum(), x)))
    assert counters["stats"]["unique_graphs"] > 0
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
