"""Penalties on weights: their values by hand and by the dense matrix of the convolution, and in training."""

import copy
import math
from itertools import product

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import differences, fit, small_gan, small_networks, together
from test_norms import LAYERS_AND_INPUTS, OF_LAYERS, Around
from torch import nn
from torch.nn import functional as F

from convnorm import ConvNorm
from convnorm.spectra import singular_values
from gan.data import Digits
from gan.losses import ConvOrthogonality, Hinge, Orthogonality, WeightPenalty
from gan.module import GAN
from gan.norms import Conv, Norm, Orthogonal, Spectral, normalize
from gan.runs.checkpoints import read_checkpoint

PENALTIES = [Orthogonality(0.1), ConvOrthogonality(0.1)]


def layer_with(weight, kind=nn.Conv2d, **arguments):
    weight = torch.as_tensor(weight, dtype=torch.float64)
    groups, transposed = arguments.get("groups", 1), kind is nn.ConvTranspose2d
    of_first, of_second = weight.shape[0], weight.shape[1] * groups
    channels = (of_first, of_second) if transposed else (of_second, of_first)
    if kind is nn.Linear:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    else:
        layer = kind(*channels, weight.shape[2:], bias=False, **arguments)
    layer = layer.double()
    layer.weight.data.copy_(weight)
    return layer


def test_every_penalty_is_tested():
    assert {type(penalty) for penalty in PENALTIES} == {
        each for each in WeightPenalty.__subclasses__() if each.__module__.startswith("gan.")
    }


# Orthogonality


def test_orthogonality_of_two_by_two_by_hand():
    linear = layer_with([[1.0, 2.0], [3.0, 4.0]], nn.Linear)  # 1 · 3 + 2 · 4 = 11, twice
    assert Orthogonality(0.5)(linear).item() == pytest.approx(0.5 * 2 * 121)
    convolution = layer_with([[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]])
    assert Orthogonality(0.5)(nn.Sequential(linear, convolution)).item() == pytest.approx(0.5 * 2 * 242)


def test_orthogonality_takes_the_side_that_can_be_orthogonal():
    tall = layer_with([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]], nn.Linear)  # columns are orthogonal, rows are not
    assert Orthogonality()(tall) == 0
    assert Orthogonality()(layer_with(tall.weight.detach().T, nn.Linear)) == 0
    assert Orthogonality()(layer_with([[2.0, 3.0]], nn.Linear)) == 0, "there is nothing but a length"


def test_orthogonality_reads_rows_of_output_channels_in_each_group():
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    rows = weight.transpose(0, 1).flatten(1)  # of the transposed convolution
    gram = rows @ rows.T
    expected = gram.square().sum() - gram.diagonal().square().sum()
    torch.testing.assert_close(Orthogonality(1.0)(layer_with(weight, nn.ConvTranspose2d)), expected)
    halves = sum(Orthogonality(1.0)(layer_with(half)) for half in weight.chunk(2))
    torch.testing.assert_close(Orthogonality(1.0)(layer_with(weight, groups=2)), halves)


# ConvOrthogonality


def orthogonal_kernel(stride):
    """Two of the Haar wavelet's four filters: rows of a matrix that is orthogonal."""
    haar = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[1.0, -1.0], [1.0, -1.0]]]).unsqueeze(1) / 2
    if stride == 2:
        return haar
    shifted = torch.zeros(2, 2, 3, 3)  # each channel moved, and a rotation of channels
    shifted[0, :, 0, 1], shifted[1, :, 0, 1] = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    return shifted


@pytest.mark.parametrize("stride", [1, 2])
def test_an_orthogonal_convolution_costs_nothing(stride):
    kernel = orthogonal_kernel(stride)
    for kind, padded in product([nn.Conv2d, nn.ConvTranspose2d], [kernel, F.pad(kernel, (0, 1, 1, 0))]):
        assert ConvOrthogonality()(layer_with(padded, kind, stride=stride)).item() == pytest.approx(0, abs=1e-14)
    basis = torch.eye(4).view(4, 1, 2, 2)  # more outputs than inputs: columns
    assert ConvOrthogonality()(layer_with(torch.cat([basis, 0 * basis]), stride=2)) == 0


def test_conv_orthogonality_of_two_by_two_by_hand():
    """Kernel [1 2; 3 4]: shift 0 has 30, (0, ±1) 1 · 2 + 3 · 4, (±1, 0) 1 · 3 + 2 · 4, ±(1, 1) 4, ±(1, -1) 6."""
    by_hand = 29**2 + 2 * (14**2 + 11**2 + 4**2 + 6**2)
    kernel = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert ConvOrthogonality(1.0)(layer_with(kernel)).item() == pytest.approx(by_hand)
    assert ConvOrthogonality(1.0)(layer_with(kernel, dilation=3)).item() == pytest.approx(by_hand)
    assert ConvOrthogonality(1.0)(layer_with(kernel, stride=2)).item() == pytest.approx(29**2), "no shift but 0"


def cost_of_the_matrix(layer, size=(12, 12)):
    """‖A Aᵀ − I‖² of the dense matrix A on images that wrap around, a row for each output channel."""
    image = torch.eye(layer.in_channels * math.prod(size), dtype=torch.float64).view(-1, layer.in_channels, *size)
    reach = [dilation * (k - 1) for dilation, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    wrapped = F.pad(image, (0, reach[1], 0, reach[0]), mode="circular")
    outputs = F.conv2d(wrapped, layer.weight, None, layer.stride, 0, layer.dilation, layer.groups)
    matrix = outputs.flatten(1).T
    matrix = matrix[:, matrix.abs().sum(0) > 0]  # a stride beyond the kernel skips pixels
    smaller = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = smaller @ smaller.T
    return (gram - torch.eye(len(gram), dtype=torch.float64)).square().sum() / math.prod(outputs.shape[2:])


@pytest.mark.parametrize(
    ("outputs", "inputs", "size", "settings"),
    [
        (3, 4, 3, {}),
        (4, 3, 3, {}),
        (4, 3, 3, {"stride": 2}),
        (13, 3, 3, {"stride": 2}),
        (5, 2, 4, {"stride": 2}),
        (9, 2, (3, 2), {"stride": (1, 2)}),
        (3, 5, 1, {}),
        (5, 3, 1, {"stride": 2}),
        (2, 3, 2, {"stride": 3}),
        (6, 4, 3, {"groups": 2}),
        (6, 6, 3, {"groups": 6, "stride": 2}),
        (3, 4, 2, {"dilation": 3}),
        (5, 3, 2, {"dilation": 2, "stride": 2}),
        (4, 3, 2, {"dilation": 3, "stride": 2}),
    ],
)
def test_conv_orthogonality_is_that_of_the_dense_matrix(outputs, inputs, size, settings):
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, outputs, size, bias=False, **settings).double()
    torch.testing.assert_close(ConvOrthogonality(1.0)(layer), cost_of_the_matrix(layer))
    twin = nn.ConvTranspose2d(outputs, inputs, size, bias=False, **settings).double()
    twin.weight = layer.weight  # the adjoint has the same singular values
    torch.testing.assert_close(ConvOrthogonality(1.0)(twin), cost_of_the_matrix(layer))


@pytest.mark.parametrize(
    ("outputs", "inputs", "size", "stride"),
    [(3, 4, 3, 1), (4, 3, 3, 1), (3, 4, 4, 1), (4, 3, 3, 2), (13, 3, 3, 2), (5, 2, 4, 2), (9, 2, 4, 2), (2, 3, 3, 3)],
)
def test_conv_orthogonality_is_that_of_the_paper(outputs, inputs, size, stride):
    """Eq. 7, squared, less the least that more outputs than phases of inputs can reach (Achour et al., 2022)."""
    torch.manual_seed(0)
    kernels = torch.randn(outputs, inputs, size, size, dtype=torch.float64)
    padding = (size - 1) // stride * stride
    products = F.conv2d(kernels, kernels, stride=stride, padding=padding)
    products[:, :, padding // stride, padding // stride] -= torch.eye(outputs)
    expected = products.square().sum() - max(0, outputs - inputs * stride**2)
    torch.testing.assert_close(ConvOrthogonality(1.0)(layer_with(kernels, stride=stride)), expected)


def test_descent_makes_singular_values_one():
    torch.manual_seed(0)
    for layer in nn.Conv2d(2, 3, 2), nn.Conv2d(3, 2, 2):
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            ConvOrthogonality()(layer).backward()
            optimizer.step()
        values = singular_values(layer, (8, 8))
        assert values.min() > 0.97
        assert values.max() < 1.03


# Both, of any network


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(3, 2, 3, stride=2),
        lambda: nn.Conv2d(1, 4, 2),
        lambda: nn.ConvTranspose2d(2, 4, 2, groups=2),
        lambda: Spectral()(nn.Conv2d(2, 3, 2)),
    ],
)
def test_gradients_are_those_of_finite_differences(penalty, make):
    torch.manual_seed(0)
    layer = make().double()
    (weight,) = (parameter for name, parameter in layer.named_parameters() if name != "bias")
    penalty(layer).backward()
    direction, step = torch.randn_like(weight), 1e-6

    def moved(by):
        twin = copy.deepcopy(layer)
        next(each for name, each in twin.named_parameters() if name != "bias").data += by * direction
        return penalty(twin).item()

    expected = (moved(step) - moved(-step)) / (2 * step)
    assert (weight.grad * direction).sum().item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    ("norm", "case"),
    list(product([None, *OF_LAYERS], LAYERS_AND_INPUTS)),
    ids=lambda value: type(value).__name__ if isinstance(value, Norm | None) else type(value[0]()).__name__,
)
def test_product_of_norms_and_layers(penalty, norm, case):
    """The effective weight costs what a plain layer with it costs, and reading it changes nothing."""
    torch.manual_seed(0)
    make, shape = case
    plain = make()
    if not isinstance(plain, penalty.sites):
        with pytest.raises(ValueError, match=f"{type(penalty).__name__} finds no layer in Sequential: no .*Conv2d"):
            penalty(nn.Sequential(plain))
        return
    layer = copy.deepcopy(plain)
    layer = layer if norm is None else norm.of(Around(layer, torch.randn(shape)))(layer)
    network = nn.Sequential(nn.ReLU(), layer)
    state, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    cost = penalty(network)
    assert differences(state, network.state_dict()) == 0
    assert [module.training for module in network.modules()] == modes

    inside = layer.layer if isinstance(layer, ConvNorm) else layer
    plain.weight.data.copy_(copy.deepcopy(inside).eval().weight)
    torch.testing.assert_close(cost, penalty(plain), atol=1e-6, rtol=1e-6)
    cost.backward()
    own = inside.parametrizations.weight.parameters() if hasattr(inside, "parametrizations") else [inside.weight]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in own)


def test_orthogonal_weights_cost_nothing():
    network = normalize(small_networks("sngan_cnn")[1].double(), [Orthogonal()])
    assert Orthogonality(1.0)(network).item() == pytest.approx(0, abs=1e-20)


def test_what_is_shared_counts_once_and_filters_of_conv_norm_never():
    layer = nn.Conv2d(3, 3, 3)
    network = nn.Sequential(layer, nn.Sequential(layer), nn.ReLU())
    assert ConvOrthogonality()(network) == ConvOrthogonality()(layer)
    assert ConvOrthogonality()(nn.Sequential(Conv()(layer))) == ConvOrthogonality()(layer)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_half_precision_and_autocast_do_not_coarsen_it(penalty):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3).bfloat16()
    exact = penalty(copy.deepcopy(layer).double())
    with torch.autocast("cpu", torch.bfloat16):
        assert penalty(layer).dtype == torch.float32
        assert penalty(layer).item() == pytest.approx(exact.item(), rel=1e-5)
        assert penalty(copy.deepcopy(layer).float()).item() == pytest.approx(exact.item(), rel=1e-5)


def test_what_is_out_of_range_is_named():
    with pytest.raises(ValueError, match="ConvOrthogonality: weight must be positive, got 0"):
        ConvOrthogonality(0)
    generator, discriminator = small_networks("dcgan")
    discriminator.from_image = discriminator.downs = nn.ModuleList()
    with pytest.raises(ValueError, match="ConvOrthogonality finds no layer in DCGANDiscriminator: no Conv2d"):
        GAN(generator, discriminator, Hinge(), discriminator_weight_penalty=ConvOrthogonality())


# In training


class Losses(Callback):
    """Keeps what the latest step reported."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.latest = {name: float(value) for name, value in outputs.items()}


def gan(**arguments):
    given = {
        "generator_weight_penalty": Orthogonality(0.1),
        "discriminator_weight_penalty": ConvOrthogonality(0.1),
        "discriminator_norms": [Conv()],
        **arguments,
    }
    return small_gan(**given)


def train(path, steps, processes=1, ckpt_path=None, **arguments):
    losses, data = Losses(), Digits(batch_size=8)
    module = gan(discriminator_steps=2, **arguments)
    trainer = fit(module, steps, [losses], data=data, processes=processes, ckpt_path=ckpt_path, precision="64-true")
    trainer.save_checkpoint(path)
    return losses.latest


def weights(path):
    return read_checkpoint(path)["state_dict"]


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_an_update_adds_the_gradient_once(network):
    """A step of SGD from the same start differs by the learning rate times the gradient of the penalty."""

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.1)

    def after_a_step(**arguments):
        optimizers = {"generator_optimizer": sgd, "discriminator_optimizer": sgd}
        module, losses = small_gan(**optimizers, **arguments, micro_batches=4), Losses()
        start = copy.deepcopy(getattr(module, network)).double()
        fit(module, 1, [losses], precision="64-true")
        return start, getattr(module, network), losses.latest

    penalty = ConvOrthogonality(0.1)
    _, plain, _ = after_a_step()
    start, penalized, reported = after_a_step(**{f"{network}_weight_penalty": penalty})
    cost = penalty(start)
    gradients = torch.autograd.grad(cost, list(start.parameters()), allow_unused=True, materialize_grads=True)
    for one, other, gradient in zip(plain.parameters(), penalized.parameters(), gradients, strict=True):
        torch.testing.assert_close(one - other, 0.1 * gradient, atol=1e-12, rtol=0)
    names = {"generator": "loss/generator/weight_penalty", "discriminator": "loss/weight_penalty"}
    assert reported[names.pop(network)] == pytest.approx(cost.item())
    assert names.popitem()[1] not in reported


def test_parts_add_up_to_the_batch(tmp_path):
    watched = train(tmp_path / "whole.ckpt", 3)
    in_parts = train(tmp_path / "parts.ckpt", 3, micro_batches=2)
    assert {"loss/weight_penalty", "loss/generator/weight_penalty"} <= watched.keys()
    assert in_parts == pytest.approx(watched, rel=1e-8)
    assert differences(weights(tmp_path / "whole.ckpt"), weights(tmp_path / "parts.ckpt")) < 1e-8


def test_a_run_goes_on_bit_for_bit(tmp_path):
    train(tmp_path / "whole.ckpt", 5)
    train(tmp_path / "half.ckpt", 2)
    train(tmp_path / "rest.ckpt", 5, ckpt_path=tmp_path / "half.ckpt")
    assert differences(weights(tmp_path / "whole.ckpt"), weights(tmp_path / "rest.ckpt")) == 0


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    assert together(lambda: train(one, 3), 1) == [0]
    assert together(lambda: train(two, 3, 2)) == [0, 0]
    assert differences(weights(one), weights(two)) < 1e-10


class WithState(WeightPenalty):
    """A penalty of one's own that counts its updates."""

    sites = (nn.Conv2d,)

    def __init__(self):
        super().__init__(1.0)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, network):
        self.updates += 1
        return super().forward(network)

    def term(self, layer, weight):
        return weight.square().sum()


class Endless(WeightPenalty):
    """A penalty whose value alone is not finite."""

    sites = (nn.Conv2d,)

    def term(self, layer, weight):
        return 0 * weight.sum() + math.inf


def test_a_penalty_that_is_not_finite_ends_the_run():
    with pytest.raises(FloatingPointError, match="the discriminator's loss is inf"):
        fit(gan(discriminator_weight_penalty=Endless(1.0)), 1)


def test_state_of_a_penalty_is_saved_and_not_needed_to_sample(tmp_path):
    train(tmp_path / "run.ckpt", 2, discriminator_weight_penalty=WithState())
    assert weights(tmp_path / "run.ckpt")["weight_penalties.discriminator.updates"] == 4
    assert GAN.from_checkpoint(read_checkpoint(tmp_path / "run.ckpt")).sample(1).shape == (1, 1, 32, 32)
