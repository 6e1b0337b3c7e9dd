import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from convnorm import ConvNorm, conv_norm, convert
from convnorm.functional import preconditioner
from convnorm.modules.average import _cosine

torch.manual_seed(0)  # a depthwise filter of bad luck has frequencies of almost no power
LAYERS = {
    "k3": nn.Conv2d(4, 6, 3, padding=1),
    "k3s2": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "k4s2": nn.Conv2d(4, 6, 4, stride=2, padding=1),
    "k1": nn.Conv2d(4, 6, 1),
    "k1p1": nn.Conv2d(4, 6, 1, padding=1),
    "k2s3": nn.Conv2d(4, 6, 2, stride=3),
    "1x3": nn.Conv2d(4, 6, (1, 3), padding=(0, 2)),
    "3x1s21": nn.Conv2d(4, 6, (3, 1), stride=(2, 1)),
    "wide padding": nn.Conv2d(4, 6, 3, padding=4),
    "same": nn.Conv2d(4, 6, (3, 4), padding="same"),
    "valid": nn.Conv2d(4, 6, (3, 4), padding="valid"),
    "dilated": nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    "dilated same": nn.Conv2d(4, 6, (2, 3), padding="same", dilation=(3, 2)),
    "grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
    "depthwise": nn.Conv2d(4, 4, 5, padding=2, groups=4),
    "large": nn.Conv2d(4, 4, (11, 10), padding=(10, 5), dilation=(2, 1), groups=4),
    "reflect": nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
    "replicate": nn.Conv2d(4, 6, 4, stride=2, padding=1, padding_mode="replicate"),
    "circular": nn.Conv2d(4, 6, 3, padding="same", padding_mode="circular"),
    "transposed k4s2": nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1),
    "transposed k3s2o1": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
    "transposed o beyond": nn.ConvTranspose2d(4, 6, 3, stride=3, padding=0, output_padding=(2, 1)),
    "transposed grouped": nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2, bias=False),
    "1d": nn.Conv1d(4, 6, 5, stride=2, padding=2),
    "transposed 1d": nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1),
    "3d": nn.Conv3d(4, 6, 3, stride=(1, 2, 1), padding=1),
    "transposed 3d": nn.ConvTranspose3d(4, 6, 2, stride=2),
}
all_layers = pytest.mark.parametrize("name", LAYERS)


def image(layer: nn.Module, batch: int = 2) -> Tensor:
    size = (7, 6, 5)[: layer.weight.dim() - 2]
    return torch.randn(batch, layer.in_channels, *size, generator=torch.Generator().manual_seed(1))


def responses(layer: nn.Module, x: Tensor) -> Tensor:
    """The matrix of a module without bias for images like one of x, from its responses to every unit impulse."""
    impulses = torch.eye(x[0].numel(), dtype=torch.float64).view(-1, *x.shape[1:])
    with torch.no_grad():
        return (layer(impulses) - layer(torch.zeros_like(impulses[:1]))).flatten(1).T


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_without_preconditioning_it_is_the_layer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convnorm.modules.average.preconditioner", lambda *args: torch.ones_like(preconditioner(*args)))
    x = image(LAYERS[name])
    torch.testing.assert_close(ConvNorm(LAYERS[name])(x), LAYERS[name](x))


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_invariant_to_scale(name: str) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    x = image(norm.layer)
    before = norm(x)
    norm.layer.weight.data *= 7
    torch.testing.assert_close(norm(x), before)


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_gradients(name: str) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]).double())
    x = image(norm.layer, batch=1).double().requires_grad_()
    assert torch.autograd.gradcheck(norm, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(norm, x, fast_mode=True)


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_state_dict_deepcopy_pickle(name: str) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    x = image(norm.layer)
    other = ConvNorm(copy.deepcopy(LAYERS[name]))
    nn.init.normal_(other.layer.weight)
    other.load_state_dict(norm.state_dict())
    trained = norm(x)
    norm.eval()
    for twin in other, copy.deepcopy(norm), pickle.loads(pickle.dumps(norm)):
        assert torch.equal(twin(x), norm(x))
    assert torch.equal(norm(x), trained)


def test_rows_have_norm_one_at_every_frequency() -> None:
    """On an image as large as the grid wraps to, the response to impulses is the transfer matrix's inverse FFT."""
    norm = ConvNorm(nn.Conv2d(3, 5, 3, padding=2, bias=False).double(), affine=False)
    matrix = responses(norm, torch.empty(1, 3, 6, 7)).view(5, 8, 9, 3, 6, 7)
    transfer = torch.fft.fft2(matrix[..., 2, 3].movedim(3, 1))  # the response to an impulse at one place
    torch.testing.assert_close(transfer.abs().square().sum(1), torch.ones(5, 8, 9, dtype=torch.float64))


def test_bias_is_added_last() -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, 3, padding=1))
    nn.init.normal_(norm.affine.weight)
    expected = norm.layer.bias.view(1, 5, 1, 1).expand(2, 5, 4, 4)
    torch.testing.assert_close(norm(torch.zeros(2, 3, 4, 4)), expected)


def test_affine_starts_as_the_identity_and_draws_nothing() -> None:
    layer = nn.Conv2d(3, 5, (4, 1), bias=False)
    state = torch.get_rng_state()
    norm = ConvNorm(layer)
    assert torch.equal(torch.get_rng_state(), state)
    assert norm.affine.kernel_size == (5, 1)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(norm(x), ConvNorm(layer, affine=False)(x))


def test_affine_is_learned_and_the_preconditioner_is_a_constant() -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, 3, padding=1))
    norm(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in norm.parameters())
    weight, grad = norm.layer.weight, norm.layer.weight.grad
    assert (weight * grad).sum().abs() > 1e-3 * weight.norm() * grad.norm()  # 0 if V were differentiated


@pytest.mark.parametrize("parametrize", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_parametrized_layer(parametrize) -> None:
    plain = nn.Conv2d(3, 5, 3, padding=1)
    norm = ConvNorm(parametrize(copy.deepcopy(plain))).eval()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(norm(x), ConvNorm(plain)(x))  # either norm only scales
    norm.train()(x).sum().backward()
    assert all(p.grad is not None for p in norm.parameters())


def test_averaged_preconditioner_survives_the_state_dict() -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, 3, padding=1), momentum="cosine")
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(norm.eval()(x), norm.train()(x))  # no average yet: that of now
    nn.init.normal_(norm.layer.weight)
    norm(x)
    loaded = ConvNorm(nn.Conv2d(3, 5, 3, padding=1), momentum="cosine")
    loaded.load_state_dict(norm.state_dict())
    assert loaded.num_batches_tracked == 2
    assert torch.equal(loaded.eval()(x), norm.eval()(x))
    with pytest.raises(ValueError, match="images of one size"):
        norm(torch.randn(2, 3, 9, 8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [(3, 64), (16, 32)])
def test_averaged_preconditioner_survives_a_cast(channels: tuple[int, int], dtype: torch.dtype) -> None:
    norm = ConvNorm(nn.Conv2d(*channels, 3, padding=1), momentum=0.5)
    x = torch.randn(64, channels[0], 8, 8)
    for _ in range(3):
        norm(x)
    expected = norm.eval()(x)
    y = norm.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert (y - expected).norm() < 0.02 * expected.norm()
    norm.train()(x.to(dtype))
    assert norm.running_preconditioner.dtype == torch.float32


@pytest.mark.parametrize("momentum", [0, 1.5, "linear", [1], True, float("nan")])
def test_refuses_other_momenta(momentum) -> None:
    with pytest.raises(ValueError, match='momentum must be None, "cosine" or a number in'):
        ConvNorm(nn.Conv2d(3, 5, 3), momentum=momentum)


class Own(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def test_refuses_other_layers() -> None:
    for layer, message in (
        (nn.Linear(2, 2), "layer must be one of Conv1d.*got torch.nn.modules.linear.Linear"),
        (Own(1, 1, 1), r"plain Conv2d, got test_modules\.Own with a forward of its own"),
        (nn.LazyConv2d(3, 3), "must know its shape, got torch.nn.modules.conv.LazyConv2d"),
        (nn.Conv2d(3, 3, 3, dtype=torch.complex64), "must have a real weight, got .* with torch.complex64"),
    ):
        with pytest.raises(TypeError, match=message):
            ConvNorm(layer)


def with_a_computed_weight(layer: nn.Conv2d) -> None:
    weight = layer.weight
    del layer.weight
    layer.weight = weight * 2


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize(
    "change",
    [
        spectral_norm,
        weight_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: layer.register_forward_hook(lambda *_: None),
        lambda layer: layer.register_forward_pre_hook(lambda *_: None),
        with_a_computed_weight,
    ],
)
def test_refuses_layers_that_must_be_called(change) -> None:
    layer = nn.Conv2d(3, 5, 3)
    change(layer)
    with pytest.raises(TypeError, match=r"no forward hooks.*got torch.*\.Conv2d.*use torch.nn.utils.parametrizations"):
        ConvNorm(layer)


def pruned(name: str) -> Callable[[nn.Module], nn.Module]:
    return lambda layer: prune.random_unstructured(layer, name, 0.5)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("part", ["layer", "affine"])
@pytest.mark.parametrize("change", [spectral_norm, weight_norm, pruned("weight"), pruned("bias")])
def test_refuses_hooks_that_come_later(change, part: str) -> None:
    norm = ConvNorm(nn.Conv2d(3, 5, 3))
    norm.affine.bias = nn.Parameter(torch.zeros(5))
    change(getattr(norm, part))
    with pytest.raises(TypeError, match=r"hook that never runs.*Conv2d.*use torch.nn.utils.parametrizations"):
        norm(torch.randn(1, 3, 5, 5))


class Casting(nn.Conv2d):
    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return super()._conv_forward(x.float(), weight, bias)


def with_a_forward_of_its_own(layer: nn.Conv2d) -> nn.Conv2d:
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize("layer", [Casting(3, 5, 3), with_a_forward_of_its_own(nn.Conv2d(3, 5, 3))])
def test_refuses_convolutions_that_do_something_else(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"must be a plain Conv2d, got .* with a forward of its own"):
        ConvNorm(layer)


@pytest.mark.parametrize(
    ("layer", "size", "message"),
    [
        (nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=3), (5, 5), "output_padding must be less than stride"),
        (nn.Conv2d(3, 4, 3, padding=-1), (5, 5), "padding must not be negative"),
        (nn.Conv2d(3, 4, 3, padding=2), (0, 5), r"size \(0, 5\) is too small"),
    ],
)
def test_refuses_what_the_layer_refuses(layer: nn.Module, size: tuple[int, int], message: str) -> None:
    x = torch.randn(2, 3, *size)
    with pytest.raises((ValueError, RuntimeError)):
        layer(x)
    with pytest.raises(ValueError, match=message):
        ConvNorm(layer)(x)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_negative_padding_that_torch_takes_crops(mode: str) -> None:
    layer, x = nn.Conv2d(3, 4, 3, padding=-1, padding_mode=mode), torch.randn(2, 3, 8, 8)
    unpadded = nn.Conv2d(3, 4, 3)
    unpadded.load_state_dict(layer.state_dict())
    torch.testing.assert_close(ConvNorm(layer)(x), ConvNorm(unpadded)(x[..., 1:-1, 1:-1]))


def test_an_average_that_began_in_inference_mode_goes_on() -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 5, 3), momentum=0.5), torch.randn(2, 3, 8, 8)
    other = copy.deepcopy(norm)
    with torch.inference_mode():
        norm(x)
        other.load_state_dict(norm.state_dict())
    for each in norm, other:
        each(x)
        assert each.num_batches_tracked == 2


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
@all_layers
def test_keeps_the_memory_format(name: str, channels_last: bool, affine: bool) -> None:
    x = image(LAYERS[name])
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim(), torch.contiguous_format)
    memory_format = last if channels_last else torch.contiguous_format
    y = ConvNorm(copy.deepcopy(LAYERS[name]), affine=affine)(x.to(memory_format=memory_format))
    assert y.is_contiguous(memory_format=memory_format)


def test_conv_norm_leaves_the_rest_untouched() -> None:
    for layer in nn.Linear(2, 2), nn.Embedding(2, 2), nn.BatchNorm2d(2), ConvNorm(nn.Conv2d(1, 1, 1)):
        assert conv_norm(layer) is layer
    assert isinstance(conv_norm(nn.Conv2d(1, 1, 1)), ConvNorm)


def test_convert_replaces_each_convolution_once() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    network = nn.Sequential(shared, nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), nn.Sequential(shared), nn.Flatten())
    assert convert(network) is network
    assert network[0] is network[2][0]
    assert network[0].layer is shared
    again = copy.deepcopy(network)
    assert [type(m) for m in convert(again).modules()] == [type(m) for m in network.modules()]
    assert list(network.state_dict())[:2] == ["0.layer.weight", "0.layer.bias"]


def test_convert_wraps_a_lone_layer_and_leaves_what_wrap_leaves() -> None:
    assert isinstance(convert(nn.Conv2d(1, 1, 1)), ConvNorm)
    layer = nn.Conv2d(1, 1, 1)
    assert convert(nn.Sequential(layer), lambda m: m)[0] is layer


def test_convert_replaces_all_or_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(nn.Conv2d(1, 1, 1), Own(1, 1, 1)))
    before = list(network.modules())
    with pytest.raises(TypeError, match=r"^1\.1: .*got test_modules\.Own .*to leave it as it is, let `wrap`"):
        convert(network)
    assert list(network.modules()) == before
    convert(network, lambda m: m if isinstance(m, Own) else conv_norm(m))
    assert [type(m) for m in (network[0], *network[1])] == [ConvNorm, ConvNorm, Own]


@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential])
def test_convert_refuses_layers_that_are_compiled_by_themselves(wrap) -> None:
    """What torch.compile returns would go on calling the layer as it was."""
    network = wrap(torch.compile(nn.Conv2d(3, 3, 3), backend="eager"))
    with pytest.raises(TypeError, match=r"torch\.compile would go on calling what it was; convert first"):
        convert(network)
    assert not any(isinstance(module, ConvNorm) for module in network.modules())


def test_convert_refuses_what_is_distributed_already() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        network = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Conv2d(3, 3, 3)))
        with pytest.raises(TypeError, match=r"^the module: DistributedDataParallel would miss .*convert first"):
            convert(network)
    finally:
        torch.distributed.destroy_process_group()
    assert not any(isinstance(module, ConvNorm) for module in network.modules())


def test_convert_of_a_compiled_network_is_seen_by_it() -> None:
    network, x = torch.compile(nn.Sequential(nn.Conv2d(3, 3, 3)), backend="eager"), torch.randn(1, 3, 8, 8)
    plain = network(x)
    converted = convert(network)(x)
    torch.testing.assert_close(converted, network._orig_mod[0](x))
    assert not torch.allclose(converted, plain)


def test_convert_refuses_what_is_no_module() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match=r"^1: `wrap` must return a module, got NoneType"):
        convert(network, lambda m: None if isinstance(m, nn.Conv2d) else m)
    assert isinstance(network[1], nn.Conv2d)


def test_convert_keeps_the_layer_of_a_conv_norm_that_also_stands_alone() -> None:
    layer = nn.Conv2d(1, 1, 1)
    network = convert(nn.Sequential(ConvNorm(layer), layer))
    assert network[0].layer is layer
    assert network[1].layer is layer


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_gradients_do_not_depend_on_the_memory_format(kind, kernel_size, stride):
    """Weights in channels_last too: a gradient must not be added to a copy that a flatten made of them."""
    torch.manual_seed(0)
    plain = ConvNorm(kind(8, 8, kernel_size, stride=stride, padding=kernel_size // 2))
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    x = torch.randn(4, 8, 16, 16)
    upstream = torch.randn_like(plain(x))
    gradients = []
    for layer, format_ in (plain, torch.contiguous_format), (last, torch.channels_last):
        images = x.clone(memory_format=format_).requires_grad_()
        layer(images).backward(upstream)
        gradients.append([images.grad, *(parameter.grad for parameter in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("name", ["k3", "k4s2", "k1", "grouped", "transposed k4s2", "1d", "3d"])
@pytest.mark.parametrize("affine", [True, False])
def test_refuses_images_that_the_layer_refuses(name: str, affine: bool) -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name]), affine=affine), image(LAYERS[name])
    for wrong in x[:, :3], torch.cat([x, x[:, :1]], 1), x[None], x[0, 0]:
        with pytest.raises(ValueError, match=r"images must have 4 channels and \d spatial ax.*got shape \("):
            norm(wrong)
    for dtype in torch.uint8, torch.int64, torch.float64, torch.bfloat16, torch.complex64:
        with pytest.raises(ValueError, match=f"images must be of the weight's dtype, torch.float32, got {dtype}"):
            norm(x.to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x.half()).dtype == torch.bfloat16
        with pytest.raises(ValueError, match="images must be of the weight's dtype"):
            norm(x.to(torch.uint8))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("channels", "batch", "size"), [(1, 4, 8), (3, 1, 28), (1, 1, 5), (4, 2, 1)])
def test_keeps_the_memory_format_that_torch_would(channels: int, batch: int, size: int, affine: bool) -> None:
    layer = nn.Conv2d(channels, 8, 3, padding=1)
    norm = ConvNorm(copy.deepcopy(layer), affine=affine)
    for memory_format in torch.channels_last, torch.contiguous_format:
        x = torch.empty(batch, channels, size, size, memory_format=memory_format).normal_()
        assert layer(x).is_contiguous(memory_format=memory_format)
        assert norm(x).is_contiguous(memory_format=memory_format)


def test_works_on_the_meta_device() -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3, stride=2, device="meta"))
    assert norm(torch.empty(2, 3, 8, 9, device="meta")).shape == (2, 4, 3, 4)


def test_a_default_device_does_not_reach_the_constants() -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3, padding=1))
    with torch.device("meta"):
        y = norm(torch.ones(1, 3, 11, 13, device="cpu"))
    torch.testing.assert_close(y, norm(torch.ones(1, 3, 11, 13)))


def test_the_authors_schedule_falls_and_stays() -> None:
    steps = torch.tensor([0, 20_000, 37_449, 40_000, 60_000, 80_000])
    torch.testing.assert_close(_cosine(steps), torch.tensor([1, 0.5, 0.01, 0.01, 0.01, 0.01]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_cut_the_average(dtype: torch.dtype) -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3, padding=1), momentum=0.5)
    norm.layer.weight.data *= 1e-6  # the preconditioner is beyond float16
    norm(torch.randn(2, 3, 8, 8))
    average = norm.running_preconditioner.clone()
    assert average.max() > torch.finfo(torch.float16).max
    assert torch.equal(norm.to(dtype).running_preconditioner, average)


@pytest.mark.parametrize(
    ("layer", "memory_format"),
    [(nn.Conv2d(2, 3, 3), torch.channels_last), (nn.Conv3d(2, 3, 3), torch.channels_last_3d)],
)
def test_formats_of_memory_leave_the_average_alone(layer: nn.Module, memory_format: torch.memory_format) -> None:
    """That of a 3-d layer has four axes, as images have, and torch would give it their format."""
    norm, x = ConvNorm(layer, momentum=0.5), torch.randn(2, 2, *[5] * (layer.weight.dim() - 2))
    norm(x)
    state = copy.deepcopy(norm.state_dict())
    norm.to(torch.float64, memory_format=memory_format)
    assert norm.layer.weight.is_contiguous(memory_format=memory_format)
    assert list(norm.state_dict()) == list(state)
    assert torch.equal(norm.running_preconditioner, state["running_preconditioner"].double())
    norm.float()(x)


def test_an_average_does_not_begin_in_a_replica_of_data_parallel() -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3), momentum=0.5), torch.randn(2, 3, 8, 8)

    def replica() -> ConvNorm:
        copied = norm._replicate_for_data_parallel()
        copied._modules = dict(norm._modules)
        return copied

    with pytest.raises(RuntimeError, match=r"make a step before nn\.DataParallel"):
        replica()(x)
    assert norm.num_batches_tracked == 0
    norm(x)
    begun = norm.running_preconditioner.clone()
    replica()(x)
    assert norm.num_batches_tracked == 2
    torch.testing.assert_close(norm.running_preconditioner, 1.5 * begun)  # of 0.5 and 0.75 of the same preconditioner


def test_double_precision_survives_the_state_dict() -> None:
    norm, loaded = (ConvNorm(nn.Conv2d(3, 4, 3).double(), momentum=0.3) for _ in range(2))
    norm(torch.randn(2, 3, 8, 8).double())
    loaded.load_state_dict(norm.state_dict())
    assert torch.equal(loaded.running_preconditioner, norm.running_preconditioner)
