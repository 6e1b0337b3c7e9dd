"""Parity with what the authors' layer (models/prec_conv.py of their repository) outputs, recorded in recorded.npz.

Their even kernels lose a pixel to the depthwise filter, so no case joins the two.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnorm import ConvNorm

ARRAYS = np.load(Path(__file__).with_name("recorded.npz"))
CASES = json.loads(str(ARRAYS["__meta__"]))
TRAINED = [name for name, case in CASES.items() if "steps" not in case]
AVERAGED = [name for name, case in CASES.items() if "steps" in case]


def recorded(name: str, array: str) -> Tensor:
    return torch.from_numpy(ARRAYS[f"{name}/{array}"])


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).norm() <= 1e-5 * expected.norm()


def module(name: str, momentum: float | str | None = None) -> ConvNorm:
    """The authors' filter has a bias and their convolution none; ours stands in the convolution, and comes last too."""
    case = CASES[name]
    affine = "affine" in case
    layer = nn.Conv2d(case["i"], case["o"], case["k"], case["s"], case["p"], bias=affine)
    norm = ConvNorm(layer, affine=affine, momentum=momentum)
    with torch.no_grad():
        layer.weight.copy_(recorded(name, "weight"))
        if affine:
            layer.bias.copy_(recorded(name, "affine_bias"))
            norm.affine.weight.copy_(recorded(name, "affine_weight"))
    return norm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", TRAINED)
def test_training(name: str, memory_format: torch.memory_format) -> None:
    norm = module(name)
    x = recorded(name, "x").to(memory_format=memory_format).requires_grad_()
    y = norm(x)
    if "bn" in CASES[name]:
        y = F.batch_norm(y, None, None, recorded(name, "bn_weight"), recorded(name, "bn_bias"), training=True)
    y.backward(recorded(name, "grad_y"))
    assert_close(y, recorded(name, "y"))
    assert_close(x.grad, recorded(name, "grad_x"))
    assert_close(norm.layer.weight.grad, recorded(name, "grad_weight"))


@pytest.mark.parametrize("name", AVERAGED)
def test_evaluation_by_moving_average(name: str) -> None:
    norm = module(name, momentum=CASES[name].get("momentum", "cosine"))
    x = recorded(name, "x")
    for weight in recorded(name, "weights"):
        norm.layer.weight.data.copy_(weight)
        norm(x)
    assert_close(norm.eval()(x), recorded(name, "y_eval"))
