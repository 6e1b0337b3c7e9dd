"""Weights for a new run from the checkpoint of another, as far as they fit."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Taken:
    """What came of it.

    Attributes:
        loaded: Names of the tensors that were taken.
        misfits: One line for each tensor that was not: missing on either side, or of another shape.
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
    fitting = {name: given[name] for name in wanted if name in given and given[name].shape == wanted[name].shape}
    if not fitting:
        raise ValueError("none of the checkpoint's weights fits these networks")
    module.load_state_dict(fitting, strict=False)
    misfits = [_misfit(name, wanted, given) for name in {**wanted, **given} if name not in fitting]
    return Taken(list(fitting), misfits)


def _misfit(name: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    if name not in given:
        return f"{name} is not in the checkpoint"
    if name not in wanted:
        return f"{name} is not in these networks"
    return f"{name} is {tuple(given[name].shape)} in the checkpoint, {tuple(wanted[name].shape)} here"
