"""Time, launches and memory of what runs on a device."""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch

Run = Callable[[], object]


class Time(NamedTuple):
    """Milliseconds of a run: until the device is done, and until the host is."""

    ms: float
    host_ms: float


class Kernels(NamedTuple):
    """What a run starts on a GPU: kernels, copies and fills, and the milliseconds that they take without gaps."""

    launches: int
    kernel_ms: float


def synchronize(device: torch.device) -> None:
    """Wait until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(run: Run, device: torch.device, blocks: int = 3, seconds: float = 0.08) -> Time:
    """Return the median over blocks of about so many seconds. Within a block the host does not wait for the device."""
    run()
    run()
    synchronize(device)
    since = time.perf_counter()
    run()
    synchronize(device)
    count = max(1, min(100, int(seconds / (time.perf_counter() - since))))
    times, hosts = [], []
    for _ in range(blocks):
        since = time.perf_counter()
        for _ in range(count):
            run()
        hosts.append(time.perf_counter() - since)
        synchronize(device)
        times.append(time.perf_counter() - since)
    return Time(*(round(1e3 * median(values) / count, 4) for values in (times, hosts)))


def graphed(run: Run) -> Run:
    """Record a run as a CUDA graph. Return what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def kernels(run: Run) -> Kernels:
    """Count what a run starts on a GPU."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    started = [event for event in seen.events() or [] if event.device_type.name == "CUDA"]
    return Kernels(len(started), round(sum(event.time_range.elapsed_us() for event in started) / 1e3, 4))


def peak_mebibytes(run: Run) -> float:
    """Return the most memory that tensors take on a GPU during a run, beyond what they took before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def digits(value: float) -> str:
    """Return milliseconds with the digits that matter: layers on a GPU take hundredths."""
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"
