"""torch.compile, torch.export and ONNX see plain operations and compute the same."""

import copy
import io
from pathlib import Path

import onnxruntime
import pytest
import torch
from test_modules import LAYERS, image
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from convnorm import ConvNorm, convert

pytestmark = pytest.mark.slow
K3 = [("k3", "_plain"), ("k3", "_channel_products"), ("k3", "_separable")]
EXPORTED = "k3", "k4s2", "k1", "same", "grouped", "large", "reflect", "transposed k4s2", "1d", "3d"


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()  # compiled code counts against a limit for each function


@pytest.mark.parametrize(
    ("name", "algorithm", "backend"),
    [
        *((*k3, "inductor") for k3 in K3),
        ("k4s2", "_channel_products", "aot_eager"),
        ("transposed k4s2", "_channel_products", "aot_eager"),
        ("k1", "_plain", "aot_eager"),
    ],
    indirect=["algorithm"],
)
@pytest.mark.usefixtures("algorithm")
def test_compiles_to_one_graph(name: str, backend: str) -> None:
    """What inductor makes of a graph is seen once for each algorithm: it takes its time."""
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    compiled = torch.compile(copy.deepcopy(norm), fullgraph=True, backend=backend)
    found = []
    for module in norm, compiled:
        x = image(LAYERS[name]).requires_grad_()
        y = module(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])))
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("k3", "_channel_products"), ("k3", "_separable"), ("grouped", "_plain")],
    indirect=["algorithm"],
)
@pytest.mark.usefixtures("algorithm")
def test_other_batches_compile_to_one_graph_too(name: str) -> None:
    """The last batch of an epoch: here the graph is what counts, not what a compiler makes of it."""
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(copy.deepcopy(norm), fullgraph=True, backend=counter)
    whole = torch.cat([image(LAYERS[name])] * 3)
    for batch in whole, whole[:5], whole[:4], whole[:3]:
        torch.testing.assert_close(compiled(batch), norm(batch), rtol=1e-4, atol=1e-5)
    assert counter.frame_count <= 2  # for the first batch, then for any


def test_sizes_may_be_symbols() -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS["k4s2"])), image(LAYERS["k4s2"])
    compiled = torch.compile(copy.deepcopy(norm), fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), norm(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["_channel_products", "_separable"], indirect=True)
@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("dynamic", [None, True])
def test_constants_are_in_the_graph_as_numbers(dynamic: bool | None) -> None:
    """Else each pass would compute them anew, in float64 and on the host."""
    called: list[str] = []

    def note(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        called.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    torch.compile(ConvNorm(copy.deepcopy(LAYERS["k4s2"])), backend=note, dynamic=dynamic)(image(LAYERS["k4s2"]))
    assert called
    assert not any("cos" in target or "outer" in target for target in called)


@pytest.mark.parametrize("name", EXPORTED)
def test_exports_for_every_batch(name: str) -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name])).eval(), torch.cat([image(LAYERS[name])] * 3)
    program = torch.export.export(norm, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in x, x[:3]:
        torch.testing.assert_close(program.module()(batch), norm(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.5, "cosine"])
def test_an_exported_average_goes_on_after_loading(momentum: float | str) -> None:
    network = nn.Sequential(ConvNorm(nn.Conv2d(3, 4, 3), momentum=momentum))
    x, file = torch.randn(2, 3, 6, 6), io.BytesIO()
    network(x)  # which begins it
    torch.export.save(torch.export.export(network, (x,)), file)
    file.seek(0)
    exported = torch.export.load(file).module()
    torch.testing.assert_close(exported(x), network(x))
    torch.testing.assert_close(dict(exported.named_buffers()), dict(network.named_buffers()))
    assert network[0].num_batches_tracked == 2


@pytest.mark.parametrize("momentum", [0.5, "cosine"])
def test_an_average_compiles(momentum: float | str) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3), momentum=momentum), torch.randn(2, 3, 6, 6)
    other = copy.deepcopy(norm)
    compiled = torch.compile(other, backend="aot_eager")
    for _ in range(3):
        torch.testing.assert_close(compiled(x), norm(x))
    torch.testing.assert_close(dict(other.named_buffers()), dict(norm.named_buffers()))
    torch.testing.assert_close(compiled.eval()(x), norm.eval()(x))


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [*K3, ("k4s2", "_channel_products"), ("grouped", "_plain"), ("large", "_plain"), ("k1", "_plain")],
    indirect=["algorithm"],
)
@pytest.mark.usefixtures("algorithm")
def test_onnx_runs_and_agrees(name: str, tmp_path: Path) -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name])).eval(), image(LAYERS[name])
    file = tmp_path / "layer.onnx"
    torch.onnx.export(norm, (x,), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), norm(x).detach(), rtol=1e-4, atol=1e-5)


def test_a_network_compiles_to_one_graph() -> None:
    network = convert(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 4, 2, 1), nn.Flatten(), nn.LazyLinear(2))
    )
    x = torch.randn(4, 3, 12, 12)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(network(x), compiled(x), rtol=1e-4, atol=1e-4)
