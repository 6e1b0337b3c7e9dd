"""Networks with their norms: from the arguments of a classifier, or from its checkpoint."""

from typing import Any

from torch import nn

import convnorm
from gan.norms import BatchNorm, Norm, normalize
from gan.runs.description import build, describe, public_path

FACTS = "classifier"  # where a checkpoint says how its network was built


def normalized(network: nn.Module, norms: list[Norm]) -> nn.Module:
    """Apply norms to the convolutions of a plain network, whose batch norms then take statistics over all processes.

    Linear layers stay plain, as in the ConvNorm paper: a norm of the last one would bound the logits.
    """
    return convnorm.convert(normalize(network, [_NotLinear(norm) for norm in norms]), _over_processes)


def description_of(network: nn.Module, norms: list[Norm]) -> dict[str, Any]:
    """Return, as plain data, what `network_of` needs. A network that keeps no arguments is only named."""
    try:
        described = describe(network)
    except TypeError:
        described = {"class_path": public_path(type(network))}
    return {"network": described, "norms": [describe(norm) for norm in norms]}


def network_of(checkpoint: dict[str, Any]) -> nn.Module:
    """Rebuild the network of a checkpoint, in evaluation mode.

    Raises:
        ValueError: if the checkpoint does not say how: networks must keep their arguments as attributes.
    """
    facts = checkpoint[FACTS]
    if "init_args" not in facts["network"]:
        raise ValueError(f"{facts['network']['class_path']} keeps no record of its arguments: it cannot be rebuilt")
    network = normalized(build(facts["network"], nn.Module), [build(norm, Norm) for norm in facts["norms"]])
    prefix, state = "network.", checkpoint["state_dict"]
    network.load_state_dict({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})
    return network.eval().requires_grad_(False)


def check_batch_norms(network: nn.Module) -> None:
    """Check that all batch norms of a network take their statistics over all processes.

    Raises:
        ValueError: if one does not.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, BatchNorm):
            raise ValueError(
                f"network.{name} is a {type(module).__name__}, whose batch would be that of each process alone: with "
                "several processes batch norms must be torch.nn.BatchNorm2d"
            )


class _NotLinear(Norm):
    """A norm that leaves linear layers alone."""

    def __init__(self, norm: Norm) -> None:
        self.norm = norm
        self.sites = tuple(kind for kind in norm.sites if kind is not nn.Linear)  # type: ignore[misc]

    def of(self, network: nn.Module) -> Norm:
        return _NotLinear(self.norm.of(network))

    def apply(self, site: nn.Module) -> nn.Module:
        return self.norm.apply(site)


def _over_processes(module: nn.Module) -> nn.Module:
    if type(module) is not nn.BatchNorm2d:
        return module
    settings = module.eps, module.momentum, module.affine, module.track_running_stats
    norm = BatchNorm(module.num_features, *settings)
    norm.load_state_dict(module.state_dict())
    return norm
