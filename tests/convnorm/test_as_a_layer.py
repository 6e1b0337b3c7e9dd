"""A ConvNorm in place of a convolution: its attributes, state dicts, `torch.fx`, activation checkpointing."""

import copy

import pytest
import torch
import torchvision.models
from test_modules import LAYERS, all_layers, image
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from convnorm import ConvNorm, convert, unconvert
from convnorm.layers import CONVOLUTIONS

ATTRIBUTES = [
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "padding_mode", "output_padding"),
    *("dilation", "groups", "transposed", "weight", "bias"),
]


@all_layers
def test_the_layers_attributes_answer(name: str) -> None:
    layer = LAYERS[name]
    norm = ConvNorm(layer)
    assert all(getattr(norm, attribute) is getattr(layer, attribute) for attribute in ATTRIBUTES)
    assert [name for name, _ in norm.named_parameters()] == [
        f"layer.{name}" for name, _ in layer.named_parameters()
    ] + ["affine.weight"]


def test_attributes_cover_what_torch_documents() -> None:
    """All constants of torch's layers that say what they compute."""
    documented = {name for kind in CONVOLUTIONS for name in kind.__constants__}
    assert documented <= set(ATTRIBUTES)


def test_setting_an_attribute_is_an_error_and_not_a_second_weight() -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3))
    for name, value in ("stride", 2), ("bias", None), ("weight", nn.Parameter(torch.ones(4, 3, 3, 3))):
        with pytest.raises((AttributeError, KeyError), match=name):
            setattr(norm, name, value)
    assert len(list(norm.parameters())) == 3


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.Sequential(nn.ReLU(), nn.Conv2d(6, 4, 4, stride=2, bias=False)),
        parametrizations.weight_norm(nn.ConvTranspose2d(4, 5, 3)),
    )


def trained(converted: nn.Module, x: Tensor) -> nn.Module:
    """Change every parameter and buffer of a converted network."""
    for parameter in converted.parameters():
        nn.init.normal_(parameter)
    converted(x)
    return converted


def with_average(layer: nn.Module) -> nn.Module:
    return ConvNorm(layer, momentum=0.5) if isinstance(layer, CONVOLUTIONS) else layer


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("wrap", [with_average, lambda m: ConvNorm(m, affine=False) if "Conv" in str(type(m)) else m])
def test_a_plain_state_dict_gives_what_converting_gives(wrap, assign: bool) -> None:
    plain, x = network(), torch.randn(2, 3, 9, 8)
    state = copy.deepcopy(plain.state_dict())
    ours = trained(convert(network(), wrap), x)
    assert ours.load_state_dict(plain.state_dict(), strict=True, assign=assign).missing_keys == []
    torch.testing.assert_close(dict(ours.state_dict()), dict(convert(copy.deepcopy(plain), wrap).state_dict()))
    torch.testing.assert_close(dict(plain.state_dict()), dict(state))
    torch.testing.assert_close(ours(x), convert(plain, wrap)(x))


def test_a_state_dict_of_its_own_loads_as_before() -> None:
    x = torch.randn(2, 3, 9, 8)
    ours, other = (trained(convert(network(), with_average), x) for _ in range(2))
    other.load_state_dict(ours.state_dict())
    torch.testing.assert_close(dict(other.state_dict()), dict(ours.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.weight"), r"Missing key.*0\.layer\.weight"),
        (lambda state: state.update({"0.scale": torch.ones(1)}), r"Unexpected key.*0\.scale"),
        (lambda state: state.update({"0.weight": torch.ones(1)}), r"size mismatch for 0\.layer\.weight"),
    ],
)
def test_a_plain_state_dict_is_checked(change, message: str) -> None:
    state = network().state_dict()
    change(state)
    with pytest.raises(RuntimeError, match=message):
        convert(network()).load_state_dict(state)


def test_part_of_a_state_dict_leaves_the_rest_alone() -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3))
    nn.init.normal_(norm.affine.weight)
    before = copy.deepcopy(norm.state_dict())
    for part in {}, {"affine.weight": before["affine.weight"]}, {"layer.bias": before["layer.bias"]}:
        norm.load_state_dict(part, strict=False)
    torch.testing.assert_close(dict(norm.state_dict()), dict(before), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_converting_keeps_the_mode(training: bool) -> None:
    converted = convert(network().train(training), with_average)
    assert all(module.training is training for module in converted.modules())


def test_unconvert_gives_the_plain_network_back() -> None:
    plain, x = network().eval(), torch.randn(2, 3, 9, 8)
    converted = convert(copy.deepcopy(plain))
    assert not torch.allclose(converted(x), plain(x), rtol=0.1)
    back = unconvert(converted)
    assert back is converted
    assert str(back) == str(plain)
    assert torch.equal(back(x), plain(x))
    plain.load_state_dict(back.state_dict())


def test_unconvert_keeps_what_was_trained_and_what_is_shared() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    both = trained(convert(nn.Sequential(shared, nn.Sequential(shared))), torch.randn(2, 3, 8, 8))
    weight = shared.weight.clone()
    unconvert(both)
    assert both[0] is both[1][0] is shared
    assert torch.equal(shared.weight, weight)
    assert unconvert(ConvNorm(shared)) is shared


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        up: Tensor = self.up(self.down(x).relu(), output_size=x.size())
        return up * self.down.weight.sum()


def test_fx_traces_converted_networks() -> None:
    net = convert(UNet())
    graph = torch.fx.symbolic_trace(net)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["down", "up"]
    for x in torch.randn(2, 3, 8, 7), torch.randn(1, 3, 5, 6):
        assert torch.equal(graph(x), net(x))
    with pytest.raises(TypeError, match=r"torch\.fx cannot trace a ConvNorm alone: trace a module that holds it"):
        torch.fx.symbolic_trace(net.up)


def test_torchvisions_feature_extractor() -> None:
    plain = torchvision.models.resnet18(num_classes=3).eval()
    net, x = convert(copy.deepcopy(plain)), torch.randn(1, 3, 32, 32)
    assert get_graph_node_names(net) == get_graph_node_names(plain)
    found = create_feature_extractor(net, ["layer1.0.conv1", "layer2", "fc"])(x)
    assert torch.equal(found["fc"], net(x))
    stem = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    assert torch.equal(found["layer1.0.conv1"], net.layer1[0].conv1(stem))


class Checkpointed(nn.Module):
    def __init__(self, body: nn.Module, use_reentrant: bool) -> None:
        super().__init__()
        self.body, self.use_reentrant = body, use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        for part in self.body:
            x = checkpoint(part, x, use_reentrant=self.use_reentrant)
        return x


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("momentum", [0.3, "cosine"])
def test_a_checkpointed_pass_counts_once(momentum: float | str, use_reentrant: bool) -> None:
    plain = nn.Sequential(*(ConvNorm(nn.Conv2d(3, 3, 3, padding=1), momentum=momentum) for _ in range(2)))
    ours = Checkpointed(copy.deepcopy(plain), use_reentrant)
    for step in 1, 2:
        x = torch.randn(2, 3, 6, 5, requires_grad=True)
        losses = [module(x).square().sum() for module in (plain, ours)]
        for module, loss in zip((plain, ours.body), losses, strict=True):
            module.zero_grad()
            loss.backward()
            assert module[0].num_batches_tracked == module[1].num_batches_tracked == step
        assert torch.equal(*losses)
        for one, other in zip(plain.parameters(), ours.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
    torch.testing.assert_close(dict(ours.body.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)


@all_layers
def test_checkpointing_changes_no_gradient(name: str) -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name])), image(LAYERS[name]).requires_grad_()
    asked = [x, *norm.parameters()]
    expected = torch.autograd.grad(norm(x).square().sum(), asked)
    found = torch.autograd.grad(checkpoint(norm, x, use_reentrant=False).square().sum(), asked)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
