"""Exported networks compute what the trained ones do: every network, every norm, every format."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from small_trainings import ARCHITECTURES, small_networks
from test_norms import COMBINATIONS, NORMS, name

from gan.losses import Hinge
from gan.module import GAN
from gan.networks import (
    DCGANDiscriminator,
    DeepDecoder,
    load,
    read_facts,
)
from gan.norms import (
    ONI,
    Batch,
    ConditionalBatch,
    Conv,
    Group,
    Instance,
    Layer,
    Mixture,
    Orthogonal,
    Spectral,
    SpectralOperator,
    Weight,
)
from gan.sharing.export import export_of, write

FORMATS = {"safetensors": "x.safetensors", "torch": "x.pt"}
SIZE = 24, 32
LABELS = torch.tensor([0, 2, 1])


def made(architecture, norms, conditional=False, generator_norms=None):
    """Return a GAN of narrow networks for rectangles of three classes, with no parameter as it was initialized."""
    facts = {"image_size": SIZE, "channels": 3, "num_classes": 3}
    if architecture == "deep_decoder":
        decoder = DeepDecoder(**facts, latent_dim=8, width=8, doublings=2)
        pair = decoder, DCGANDiscriminator(**facts, conditional=conditional, width=8)
    else:
        pair = small_networks(architecture, SIZE, 3, 3, conditional)
    module = GAN(*pair, Hinge(), generator_norms or norms, norms)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return module.eval()


def is_conditional(norms):
    return any(isinstance(norm, ConditionalBatch) for norm in norms)


def inputs(part):
    return torch.randn(3, 8) if part == "generator" else torch.rand(3, 3, *SIZE)


@pytest.mark.parametrize("norms", COMBINATIONS, ids=name)
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "deep_decoder"])
def test_what_is_read_computes_the_same(architecture, norms, tmp_path):
    module = made(architecture, norms, is_conditional(norms))
    for part, kind in zip(("generator", "discriminator"), FORMATS, strict=True):
        export = export_of(module, part, 5, [], Path("x.ckpt"))
        write(path := tmp_path / FORMATS[kind], export, kind)
        network, x = load(path), inputs(part)
        torch.testing.assert_close(network(x, LABELS), export.network(x, LABELS), rtol=0, atol=0)
        assert not network.training
        assert read_facts(path) == export.facts


# The exporter takes seconds a network: every network once, and every norm once
ONNX = [
    ("generator", "dcgan", [ONI(), ConditionalBatch()]),
    ("generator", "sngan_cnn", [Conv(), Mixture()]),
    ("generator", "sngan_resnet", [Spectral(), Batch()]),
    ("generator", "r3gan", [SpectralOperator(), Instance()]),
    ("generator", "deep_decoder", [Weight(), Layer()]),
    ("discriminator", "dcgan", [Conv(affine=False), Spectral()]),
    ("discriminator", "sngan_cnn", [Orthogonal(), Group(4)]),
    ("discriminator", "sngan_resnet", [Conv(), Batch()]),
    ("discriminator", "r3gan", []),
]


def test_the_onnx_cases_have_every_norm():
    assert {type(norm) for *_, norms in ONNX for norm in norms} == {type(norm) for norm in NORMS}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "architecture", "norms"), ONNX, ids=[f"{c[0]}-{c[1]}-{name(c[2])}" for c in ONNX])
def test_onnx_computes_the_same_in_batches_of_any_size(part, architecture, norms, tmp_path):
    if part == "discriminator":  # with labels, which its generator needs then too
        module = made(architecture, norms, True, [ConditionalBatch()])
    else:
        module = made(architecture, norms, is_conditional(norms) or architecture == "r3gan")
    export = export_of(module, part, 5, [], Path("x.ckpt"))
    write(path := tmp_path / "x.onnx", export, "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = inputs(part)
    for rows in x[:1], x:
        given = {"z" if part == "generator" else "images": rows.numpy()}
        if export.facts["conditional"]:
            given["labels"] = LABELS[: len(rows)].numpy()
        (y,) = session.run(None, given)
        expected = export.network(rows, LABELS[: len(rows)]).detach()
        torch.testing.assert_close(torch.from_numpy(y), expected, rtol=1e-5, atol=1e-5)
