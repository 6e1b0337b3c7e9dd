"""Orthogonal and nearly orthogonal kernel matrices, against singular values and torch's own parametrization."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from gan.norms import ONI, Orthogonal

LAYERS = [
    nn.Linear(7, 5),
    nn.Linear(5, 7),
    nn.Linear(6, 1),
    nn.Conv2d(3, 64, 3),  # more rows than columns
    nn.Conv2d(4, 6, 3),
    nn.Conv2d(6, 9, 3, groups=3),
    nn.ConvTranspose2d(6, 4, 4),
    nn.ConvTranspose2d(6, 4, 4, groups=2),
    nn.Embedding(10, 6),
]


def matrices(layer, weight):
    """One matrix a group by plain slicing: a row an output channel."""
    groups = getattr(layer, "groups", 1)
    parts = weight.chunk(groups)
    return [(part.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else part).flatten(1) for part in parts]


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_oni_changes_the_singular_values_alone(layer, iterations):
    """Each becomes what the scalar iteration makes of it; the singular vectors stay."""
    layer = copy.deepcopy(layer).double()
    before = matrices(layer, layer.weight.detach())
    normed = ONI(iterations, scale=2.0)(layer)
    for old, new in zip(before, matrices(layer, normed.weight.detach()), strict=True):
        u, s, v = torch.linalg.svd(old / old.norm(), full_matrices=False)
        b = torch.ones_like(s)
        for _ in range(iterations):
            b = 1.5 * b - 0.5 * b**3 * s**2
        torch.testing.assert_close(new, u @ torch.diag(2 * b * s) @ v)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_oni_converges_to_orthonormal_rows_or_columns(layer):
    normed = ONI(40)(copy.deepcopy(layer).double())
    for matrix in matrices(layer, normed.weight):
        values = torch.linalg.svdvals(matrix.detach())
        torch.testing.assert_close(values, torch.ones_like(values), atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_orthogonal_weights_are_and_stay_orthogonal(layer):
    layer = Orthogonal()(copy.deepcopy(layer).double())
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(4):
        for matrix in matrices(layer, layer.weight.detach()):
            values = torch.linalg.svdvals(matrix)
            torch.testing.assert_close(values, torch.ones_like(values), atol=1e-10, rtol=0)
        optimizer.zero_grad()
        (layer.weight * torch.randn_like(layer.weight)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_orthogonal_starts_at_the_weights_own_q(layer):
    weight = copy.deepcopy(layer).double().weight.detach()
    normed = Orthogonal()(copy.deepcopy(layer).double())
    for old, new in zip(matrices(layer, weight), matrices(layer, normed.weight.detach()), strict=True):
        old, new = (old.T, new.T) if old.shape[0] < old.shape[1] else (old, new)
        q, r = torch.linalg.qr(old)
        torch.testing.assert_close(new, q * r.diagonal().sign())


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 6)])
def test_orthogonal_is_the_parametrization_of_torch(shape):
    layer = nn.Linear(*shape[::-1], dtype=torch.float64)
    theirs = parametrizations.orthogonal(copy.deepcopy(layer), orthogonal_map="householder", use_trivialization=False)
    ours, direction = Orthogonal()(layer), torch.randn(shape, dtype=torch.float64)
    outcomes = []
    for each in ours, theirs:
        original = each.parametrizations.weight.original
        outcomes.append([each.weight, original, *torch.autograd.grad((each.weight * direction).sum(), original)])
    torch.testing.assert_close(*outcomes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ONI(iterations=0), "ONI: iterations must be at least 1, got 0"),
        (lambda: ONI(scale=0), "ONI: scale must be positive, got 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
