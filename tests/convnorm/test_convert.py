"""`convert` on networks that people have: they train a step, keep their batch norms, and export."""

from collections.abc import Callable

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from convnorm import ConvNorm, convert

pytestmark = pytest.mark.slow


def timm_resnet() -> nn.Module:
    network: nn.Module = pytest.importorskip("timm").create_model("resnet10t", num_classes=1000)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "vgg16_bn": torchvision.models.vgg16_bn,
    "mobilenet_v3": torchvision.models.mobilenet_v3_small,
    "timm": timm_resnet,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_others(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    batch_norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    convert(network)
    wrapped = [module for module in network.modules() if isinstance(module, ConvNorm)]
    assert len(wrapped) == convolutions > 0
    assert [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)] == batch_norms
    assert batch_norms

    x, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])

    def loss() -> Tensor:
        torch.manual_seed(1)  # of dropout
        return nn.functional.cross_entropy(network(x), labels)

    before = loss()
    before.backward()
    assert all(norm.layer.weight.grad is not None and norm.layer.weight.grad.isfinite().all() for norm in wrapped)
    assert all(norm.affine.weight.grad is not None and norm.affine.weight.grad.isfinite().all() for norm in wrapped)
    # Their gradients' norms go from 25 to 2,000: a step after which the loss should be less by a hundredth.
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    rate = 0.01 / sum(gradient.square().sum().item() for gradient in gradients)
    torch.optim.SGD(network.parameters(), lr=rate).step()
    assert loss() < before

    network.eval()
    program = torch.export.export(network, (x,))
    torch.testing.assert_close(program.module()(x), network(x), rtol=1e-3, atol=1e-3)
