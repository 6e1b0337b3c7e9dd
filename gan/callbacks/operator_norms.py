"""Operator norms of the layers, which show the effect of a normalization over the training."""

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

import convnorm
from convnorm.layers import is_hooked
from convnorm.spectra import operator_norm
from gan.checks import check_at_least
from gan.distributed import measure_together
from gan.metrics.exactness import exact_inference
from gan.networks.evaluation_mode import evaluating
from gan.training.base import TrainingModule

WATCHED = nn.Linear, nn.Conv2d, nn.ConvTranspose2d, convnorm.ConvNorm


class OperatorNorms(Callback):
    """Logs the exact operator norm of every layer, `operator_norm/<network>/<layer>`, every n steps.

    These are the linear layers and convolutions that the network calls. Layers whose weights are used without a call,
    as in `nn.MultiheadAttention`, and layers with the hooks of `torch.nn.utils.spectral_norm`, `weight_norm` or `prune`
    are left out. Several processes share the layers.

    Args:
        every_n_steps: Steps between two measurements. The first is made before training.
    """

    def __init__(self, every_n_steps: int = 1000) -> None:
        check_at_least(1, "OperatorNorms: ", every_n_steps=every_n_steps)
        self.every_n_steps = every_n_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained networks."""
        if trainer.ckpt_path is None:
            self._publish(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, every n steps."""
        if trainer.global_step % self.every_n_steps == 0:
            self._publish(pl_module)

    def _publish(self, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        with exact_inference(module.device.type):  # TF32 would change the fourth digit
            norms = {
                f"operator_norm/{name}/{layer}": value
                for name, (network, inputs) in module.example_inputs().items()
                for layer, value in operator_norms(network, *inputs).items()
            }
        module.publish(norms)


@torch.no_grad()
def operator_norms(network: nn.Module, *inputs: Tensor) -> dict[str, float]:
    """Return the operator norm of every linear layer and convolution by name, for inputs of such shapes.

    Layers that are not called in evaluation mode are left out. Several processes share the layers among them: every
    process must call it.

    Raises:
        ValueError: if the weights of a layer are not finite.
    """
    sizes = _input_sizes(network, inputs)
    layers = {name: layer for name, layer in _layers(network) if name in sizes}

    def measure(name: str) -> float:
        return operator_norm(layers[name], sizes[name])

    return dict(zip(layers, measure_together(list(layers), measure, inputs[0].device), strict=True))


def _layers(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        if isinstance(child, WATCHED):
            if not is_hooked(child):  # operator_norm refuses hooked layers
                yield prefix + name, child
        else:
            yield from _layers(child, f"{prefix}{name}.")


def _input_sizes(network: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Return the height and width of each layer's input in a forward pass in evaluation mode.

    Calls `forward`, since `__call__` may be compiled.
    """
    sizes: dict[str, tuple[int, ...]] = {}

    def look(name: str) -> Any:
        return lambda layer, inputs, named: sizes.update({name: tuple([*inputs, *named.values()][0].shape[2:])})

    hooks = [layer.register_forward_pre_hook(look(name), with_kwargs=True) for name, layer in _layers(network)]
    try:
        with evaluating(network):
            network.forward(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
