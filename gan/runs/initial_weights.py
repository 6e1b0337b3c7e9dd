"""Weights for a new run from the checkpoint of another, as far as they fit."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Taken:
    """The outcome of loading initial weights.

    Attributes:
        loaded: Names of the tensors that were taken.
        misfits: One line for each reason why others were not, with their names.
    """

    loaded: list[str]
    misfits: list[str]


def take_weights(module: nn.Module, state: Mapping[str, Tensor]) -> Taken:
    """Copy into a module what fits in name and shape.

    The generator's average over the training is left out: it starts anew, from the weights that were taken.

    Args:
        module: The module.
        state: The state dict of a checkpoint.

    Raises:
        ValueError: if nothing fits.
    """
    given = {name: tensor for name, tensor in state.items() if not name.startswith("generator_ema.")}
    wanted = module.state_dict()
    shared = [name for name in wanted if name in given]
    fitting = {name: given[name] for name in shared if given[name].shape == wanted[name].shape}
    if not fitting:
        raise ValueError("none of the checkpoint's weights fits these networks")
    module.load_state_dict(fitting, strict=False)
    shapes = [
        f"{name} ({_shape(given[name])} in the checkpoint, {_shape(wanted[name])} here)"
        for name in shared
        if name not in fitting
    ]
    reasons = {
        "of another shape": shapes,
        "not in the checkpoint": [name for name in wanted if name not in given],
        "only in the checkpoint": [name for name in given if name not in wanted],
    }
    return Taken(list(fitting), [f"{reason}: {', '.join(names)}" for reason, names in reasons.items() if names])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
