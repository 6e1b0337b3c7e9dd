import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from convnorm import ConvNorm, spectra
from convnorm.spectra import operator_norm, singular_values

LAYERS = [
    nn.Conv2d(3, 5, 3, padding=1),
    nn.Conv2d(3, 5, 4, stride=2, padding=1),
    nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1),
    nn.Conv2d(4, 6, (1, 3), padding="same", groups=2),
    nn.Conv2d(3, 5, 3, padding=2, dilation=2, padding_mode="reflect"),
    nn.Conv1d(3, 5, 3, padding=1),
    parametrizations.spectral_norm(nn.Conv2d(3, 5, 3, padding=1)),
    parametrizations.weight_norm(nn.ConvTranspose2d(3, 5, 3, padding=1)),
]
SIZE = 6, 5


def matrix(layer: nn.Module, size: tuple[int, ...], channels: int) -> Tensor:
    """A layer's matrix without its bias, from its responses to every unit impulse."""
    impulses = torch.eye(channels * torch.Size(size).numel()).view(-1, channels, *size)
    with torch.no_grad():
        return (layer(impulses) - layer(torch.zeros_like(impulses[:1]))).flatten(1)


@pytest.mark.parametrize("wrap", [copy.deepcopy, ConvNorm])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_operator_norm_is_that_of_the_matrix(layer: nn.Module, wrap) -> None:
    norm = wrap(copy.deepcopy(layer)).eval()
    if isinstance(norm, ConvNorm):
        nn.init.normal_(norm.affine.weight)
    size = SIZE[: layer.weight.dim() - 2]
    expected = torch.linalg.matrix_norm(matrix(norm, size, layer.in_channels).double(), ord=2)
    assert operator_norm(norm, size) == pytest.approx(float(expected), rel=1e-5)


def test_operator_norm_changes_nothing() -> None:
    layer = parametrizations.spectral_norm(nn.Conv2d(3, 5, 3)).train()
    state, random = copy.deepcopy(layer.state_dict()), torch.get_rng_state()
    operator_norm(layer, SIZE)
    assert layer.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


def test_operator_norm_by_hand() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    assert operator_norm(layer) == pytest.approx(5)
    nn.init.zeros_(layer.weight)
    assert operator_norm(layer) == 0
    convolution = nn.Conv2d(2, 3, 3, padding=1)
    nn.init.zeros_(convolution.weight)
    assert operator_norm(convolution, SIZE) == 0
    convolution.weight.data[:, :, 1, 1] = torch.tensor([[0.0, 3.0], [0.0, 0.0], [2.0, 0.0]])
    assert operator_norm(convolution, SIZE) == pytest.approx(3)
    assert operator_norm(convolution.bfloat16(), SIZE) == pytest.approx(3)


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e15, 1e25])
@pytest.mark.parametrize("layer", [nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(3, 5, 4, stride=2), nn.Linear(30, 5)])
def test_operator_norm_at_any_scale(layer: nn.Module, scale: float) -> None:
    size = () if isinstance(layer, nn.Linear) else SIZE
    scaled = copy.deepcopy(layer)
    scaled.weight.data *= scale
    assert operator_norm(scaled, size) / scale == pytest.approx(operator_norm(layer, size), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_weights_that_are_not_finite(value: float) -> None:
    convolution, linear = nn.Conv2d(3, 5, 3), nn.Linear(3, 5)
    for layer in convolution, linear:
        layer.weight.data.view(-1)[0] = value
    for layer, size in (convolution, SIZE), (ConvNorm(convolution), SIZE), (linear, ()):
        with pytest.raises(ValueError, match="weights must be finite"):
            operator_norm(layer, size)
    for layer in convolution, ConvNorm(convolution):
        with pytest.raises(ValueError, match="weights must be finite"):
            singular_values(layer, SIZE)


def test_operator_norm_warns_when_it_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(3, 5, 3)
    exact = operator_norm(layer, SIZE)
    monkeypatch.setattr("convnorm.spectra.STEPS", 4)
    with pytest.warns(UserWarning, match="stopped after 4 steps: its relative residual is") as warned:
        assert 0.5 * exact < operator_norm(layer, SIZE) < exact
    assert warned[0].filename == __file__


def test_momentum_in_training_does_not_bind_the_size() -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, 3), momentum=0.5)
    expected = [function(norm, SIZE) for function in (operator_norm, singular_values)]
    norm(torch.randn(2, 3, 9, 9))
    average = norm.running_preconditioner.clone()
    assert operator_norm(norm, SIZE) == expected[0]
    assert torch.equal(singular_values(norm, SIZE), expected[1])
    assert torch.equal(norm.running_preconditioner, average)
    with pytest.raises(ValueError, match="images of one size"):
        operator_norm(norm.eval(), SIZE)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_operator_norm_inside_autocast_and_without_gradients(mode) -> None:
    layer = nn.Conv2d(3, 5, 3)
    expected = operator_norm(layer, SIZE)
    with mode(), torch.autocast("cpu", torch.bfloat16):
        assert operator_norm(layer, SIZE) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_singular_values_are_those_on_the_padded_image(mode: str) -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, (5, 3), padding=(2, 1), padding_mode=mode), momentum=0.5)
    norm(torch.randn(2, 3, 3, 4))
    bare = ConvNorm(nn.Conv2d(3, 5, (5, 3)))
    bare.load_state_dict(norm.state_dict(), strict=False)
    torch.testing.assert_close(singular_values(norm.layer, (3, 4)), singular_values(bare.layer, (7, 6)))
    values = singular_values(norm.eval(), (3, 4))  # half the average is that of now, half zeros
    torch.testing.assert_close(values, 0.5 * singular_values(bare, (7, 6)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [(6, 5), (5, 6), (1, 4)])
@pytest.mark.parametrize("groups", [1, 2])
def test_singular_values_are_those_of_the_circular_operator(size: tuple[int, int], groups: int) -> None:
    layer = nn.Conv2d(4, 6, (3, 2), padding=1, groups=groups).double()
    grid = size[0] + 2, size[1] + 1
    circular = nn.Conv2d(4, 6, (3, 2), groups=groups, padding="same", padding_mode="circular", bias=False).double()
    circular.weight = layer.weight
    expected = torch.linalg.svdvals(
        circular(torch.eye(4 * grid[0] * grid[1]).double().view(-1, 4, *grid)).detach().flatten(1)
    )
    values = singular_values(layer, size)
    assert values.shape == (*grid, 4)
    torch.testing.assert_close(values.flatten().sort(descending=True).values, expected[: values.numel()])


def test_singular_values_of_a_conv_norm() -> None:
    """Every row of every transfer matrix has norm one, so the squares sum to the output channels."""
    values = singular_values(ConvNorm(nn.Conv2d(3, 5, 4, stride=2, padding=1)), SIZE)
    torch.testing.assert_close(values.square().sum(-1), torch.full((9, 8), 5.0).double(), rtol=1e-6, atol=0)
    values = singular_values(ConvNorm(nn.ConvTranspose2d(3, 5, 4, stride=2)), SIZE)
    torch.testing.assert_close(values.square().sum(-1), torch.full((14, 12), 5.0).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("function", [singular_values, operator_norm])
def test_refuses_other_layers(function) -> None:
    with pytest.raises(TypeError, match="layer must be a convolution or a ConvNorm, got ReLU"):
        function(nn.ReLU(), SIZE)


@pytest.mark.parametrize("hook", [nn.utils.spectral_norm, nn.utils.weight_norm, lambda m: prune.identity(m, "weight")])
@pytest.mark.parametrize("function", [singular_values, operator_norm])
def test_refuses_weights_that_a_hook_sets(function, hook) -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, 3))
    hook(norm.layer)
    for each in hook(nn.Conv2d(3, 5, 3)), norm:
        with pytest.raises(TypeError, match=r"layer must be free of the hooks of torch\.nn\.utils"):
            function(each, SIZE)


def test_operator_norm_computes_where_the_layer_is() -> None:
    layer = nn.Conv2d(3, 5, 3)
    expected = operator_norm(layer, SIZE)
    with torch.device("meta"):
        assert operator_norm(layer, SIZE) == expected


@pytest.mark.parametrize("size", [(), (6,), (6, 5, 4), (6, 0), 6, None])
@pytest.mark.parametrize("function", [singular_values, operator_norm])
def test_refuses_other_sizes(function, size) -> None:
    for layer in nn.Conv2d(3, 5, 3, padding=1), ConvNorm(nn.ConvTranspose2d(3, 5, 3)):
        with pytest.raises(ValueError, match="size must be 2 positive numbers for this layer, got"):
            function(layer, size)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(3, 8, 3, 2, 1), 9),
        (nn.ConvTranspose2d(4, 3, 4, 2, 1), 5),
        (nn.Conv2d(1, 1, 1), 3),  # every vector is an eigenvector: nothing is left after one step
        (nn.Conv2d(1, 2, 2), 2),  # fewer numbers than steps between two looks
        (nn.Conv2d(16, 8, 3, padding=1), 8),
    ],
)
def test_a_device_that_is_looked_at_rarely_finds_the_same_norm(layer, size: int, monkeypatch) -> None:
    expected = operator_norm(layer, (size, size))
    largest = spectra._largest_eigenvalue
    looked = []
    find = spectra._largest_ritz_value
    monkeypatch.setattr(spectra, "_largest_ritz_value", lambda *numbers: looked.append(1) or find(*numbers))
    monkeypatch.setattr(spectra, "_largest_eigenvalue", lambda gram, start, every: largest(gram, start, 8))
    assert operator_norm(layer, (size, size)) == pytest.approx(expected, rel=3e-6)
    assert len(looked) <= 8
