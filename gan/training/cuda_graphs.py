"""CUDA graphs of updates: a graph launches at once the hundreds of kernels that a host launches one by one.

Recording a graph computes nothing. It notes the kernels and the addresses of their tensors, and a replay runs them
again. So what an update reads has to be at the same address in every update: the batch is copied to where the recorded
one was, and weights, buffers and gradients stay where they are. A number of Python's is recorded as it was.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from gan.training.batch import Batch, Draws

Compute = Callable[[Batch], dict[str, Tensor]]

# Passes of the kernel-by-kernel kind before a graph is recorded. They load libraries and kernels and compile them,
# none of which can be recorded.
WARM_UP = 3
# Phases of a network's updates that each get a graph. R1 in every 16th update has two.
MOST_PHASES = 8


class Recording(NamedTuple):
    """A recorded graph and the tensors that it reads and writes.

    Attributes:
        inputs: The batch that it reads.
        values: The scalars that it computes, one vector (n,).
        names: Their names.
        gradients: What it computes for each parameter; None for parameters without a gradient.
        replay: Runs it.
    """

    inputs: list[Tensor]
    values: Tensor
    names: tuple[str, ...]
    gradients: list[Tensor | None]
    replay: Callable[[], None]


class UpdateGraphs:
    """Computes gradients by CUDA graphs, where that is possible, and else kernel by kernel.

    Both run the same kernels in the same order. The first updates of a training run kernel by kernel.

    Args:
        module: What holds all parameters and buffers that updates read.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._warm_ups: dict[str, Counter[Hashable]] = {}
        self._recorded: dict[Hashable, Recording] = {}
        self._excluded: set[str] = set()

    def compute(
        self, network: str, phase: Hashable, compute: Compute, batch: Batch, parameters: Iterable[nn.Parameter]
    ) -> dict[str, Tensor]:
        """Return what `compute` returns, and set the gradients that it sets.

        Args:
            network: Whose update it is.
            phase: Updates of the same phase make the same computation.
            compute: Sets the parameters' gradients and returns scalars. Besides the batch it may read tensors that
                stay where they are, and change them in place.
            batch: What it works on.
            parameters: Those of the network.
        """
        if network in self._excluded:
            return compute(batch)
        inputs = _tensors(batch)
        key = network, phase, *((tensor.shape, tensor.dtype) for tensor in inputs)
        if key in self._recorded:
            return _replay(self._recorded[key], inputs, parameters)
        seen = self._warm_ups.setdefault(network, Counter())
        seen[key] += 1
        if len(seen) > MOST_PHASES:
            self._exclude(network, f"it has more than {MOST_PHASES} kinds of updates")
        if seen[key] < WARM_UP or network in self._excluded:
            return compute(batch)
        if seen[key] == WARM_UP:
            before = self._addresses()
            computed, reason = _watched(compute, batch)
            if self._addresses() != before:
                reason = "it puts another tensor in the place of a buffer"
            if reason:
                self._exclude(network, reason)
            return computed
        try:
            self._recorded[key] = _record(compute, inputs, list(parameters))
        except Exception as error:  # whatever cannot be recorded
            self._exclude(network, _first_line(error))
            return compute(batch)
        return _replay(self._recorded[key], inputs, parameters)

    def _addresses(self) -> list[int]:
        return [tensor.data_ptr() for tensor in (*self._module.parameters(), *self._module.buffers())]

    def _exclude(self, network: str, reason: str) -> None:
        self._excluded.add(network)
        rank_zero_warn(f"model.cuda_graphs: the {network}'s updates run without CUDA graphs ({reason})")


def reason_against(device: torch.device, processes: int) -> str | None:
    """Return why no update of a training can be recorded; None if nothing is known to stand against it."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    return "there are several processes" if processes > 1 else None


def _tensors(batch: Batch) -> list[Tensor]:
    return [batch.real, batch.real_labels, *batch.draws]


def _record(compute: Compute, inputs: list[Tensor], parameters: list[nn.Parameter]) -> Recording:
    """Record what `compute` does with a copy of the inputs."""
    copies = [tensor.clone() for tensor in inputs]
    real, labels, *draws = copies

    def run() -> dict[str, Tensor]:
        computed = compute(Batch(real, labels, Draws(*draws)))
        return {"names": torch.stack([*computed.values()]), **computed}

    computed, replay = capture(run)
    values = computed.pop("names")
    return Recording(copies, values, tuple(computed), [parameter.grad for parameter in parameters], replay)


def capture(run: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Record a function. Return the tensors that it returns, which a replay fills, and what replays it."""
    graph = torch.cuda.CUDAGraph()
    # Threads that pin memory for the next batch must not disturb the recording. A recording that fails leaves its
    # stream as the current one.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        returned = run()
    return returned, graph.replay


def _replay(recorded: Recording, inputs: list[Tensor], parameters: Iterable[nn.Parameter]) -> dict[str, Tensor]:
    torch._foreach_copy_(recorded.inputs, inputs)
    recorded.replay()
    for parameter, gradient in zip(parameters, recorded.gradients, strict=True):
        parameter.grad = gradient
    return dict(zip(recorded.names, recorded.values.clone().unbind(), strict=True))  # the next replay overwrites them


def _watched(compute: Compute, batch: Batch) -> tuple[dict[str, Tensor], str | None]:
    """Return what `compute` returns, and whether it waited for the device: a recording that fails cannot be undone."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            computed = compute(batch)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    waits = [warning for warning in caught if "synchronizing CUDA operation" in str(warning.message)]
    for other in caught:
        if other not in waits:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return computed, f"{waits[0].filename}:{waits[0].lineno} waits for the device" if waits else None


def _first_line(error: BaseException) -> str:
    """Return the first line of the error that came first: the end of a recording reports a second one."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}".splitlines()[0]
