"""Networks as ONNX models.

A generator maps `z` (N, latent_dim) to `images` (N, C, H, W) in [-1, 1], a discriminator `images` to `logits` (N,). A
network that uses labels has them as a second input, `labels`, int64 (N,). N is free. All numbers are float32.
"""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convnorm import ConvNorm
from gan.networks import Discriminator, Generator
from gan.networks.exported import Facts, build_network


class _Remembered:
    """The preconditioner of a ConvNorm, computed once for each size of its grid.

    It depends on the weights alone. The exporter would trace hundreds of operations for each layer, only to make a
    constant of them in the end.
    """

    def __init__(self, norm: ConvNorm) -> None:
        self.compute = norm.preconditioner
        self.known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, kernels: Tensor, size: Sequence[int]) -> Tensor:
        if (key := tuple(size)) not in self.known:
            self.known[key] = self.compute(kernels, size)
        return self.known[key]


class _Inference(nn.Module):
    """A network in evaluation mode, in which parametrized weights and preconditioners are constants.

    The network itself changes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.float()
        self.eval()
        for module in self.network.modules():
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):  # type: ignore[arg-type]
                    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
            if isinstance(module, ConvNorm):
                module.__dict__["preconditioner"] = _Remembered(module)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        y: Tensor = self.network(x, labels)
        return y


def onnx_model(network: Generator | Discriminator, facts: Facts, metadata: Mapping[str, str]) -> bytes:
    """Return a network as the content of an ONNX file.

    Args:
        network: The network.
        facts: Its description, see `gan.networks.read_facts`.
        metadata: Text for the file's metadata.

    Raises:
        ImportError: if torch's exporter needs a package that is not installed.
    """
    try:
        import onnxscript  # noqa: F401 (torch's exporter imports it)
    except ImportError:
        raise ImportError("torch's ONNX exporter needs onnxscript: pip install onnxscript") from None
    x, y = (each.expand(2, *each.shape[1:]).contiguous() for each in network.example_inputs())  # 1 would be a constant
    name, output = ("z", "images") if isinstance(network, Generator) else ("images", "logits")
    inputs = {name: x, **({"labels": y} if facts["conditional"] else {})}
    # Not a deep copy: it would share the classes that parametrizations make, and lose them for both
    twin = _Inference(build_network("the network", facts, network.state_dict(), trust=True))
    with torch.no_grad():
        twin(*inputs.values())  # computes the preconditioners
    batch = torch.export.Dim("N")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*will not be used, since it shares")  # both inputs have N rows
        program = torch.onnx.export(
            twin,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=[{0: batch} for _ in inputs],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    content: bytes = program.model_proto.SerializeToString()
    return content
