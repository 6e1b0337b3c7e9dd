"""Defaults that depend on the machine: accelerator, precision, threads, memory allocation."""

import ctypes
import os
import platform

import torch
from pytorch_lightning.utilities import rank_zero_warn

from gan.checks import check_at_least
from gan.cli.threads import number_is_set, usable_cores

_THREADS_AT_IMPORT = torch.get_num_threads()  # those of the environment, before code of the user has run

# Parameters of glibc's mallopt(3), and values: what is smaller than the largest comes from the heap, not from mmap; the
# heap shrinks only when so much is free at its end; it grows by so much at a time.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _TOP_PAD = -1, -3, -2
_LARGEST, _GROWTH = 2**31 - 1, 2**26


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step.

    Its own choice is to give blocks of some megabytes back at once, and to have them mapped and cleared anew, page
    by page, when the next layer asks: 5 to 15 % of a step on a CPU. In return the process never shrinks again.
    Where another C library is at work, or `MALLOC_...` variables of the environment choose, nothing is done.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    for parameter, value in (_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWTH):
        libc.mallopt(parameter, value)


def chosen_accelerator(asked: str) -> str:
    """Return what `auto` is to mean: a CPU where Lightning would take an Apple GPU.

    None of this code has been run on one, and they have no float64. Asked for by name, they are tried.
    """
    return "cpu" if asked == "auto" and torch.backends.mps.is_available() else asked


def fastest_precision(accelerator: str) -> str:
    """Return `bf16-mixed` where there are arithmetic units for bfloat16, else `32-true`.

    Without such units a CPU emulates it, which takes several times as long as float32. What Arm's units and those of
    Apple's GPUs would bring has not been measured: they get float32.

    Args:
        accelerator: as the Trainer takes it: "cpu", "gpu", "cuda", "mps" or "auto".
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        has_units = False
    else:
        capabilities = torch.cpu.get_capabilities()
        has_units = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if has_units else "32-true"


def choose_threads(asked: int | None = None, insists: bool = False, processes: int = 1) -> int:
    """Let torch use the cores that this process may keep busy, unless somebody has said how many threads it is to use.

    Args:
        asked: The number that the configuration asks for; None: none.
        insists: Whether the command line asks for it. Otherwise the number of the environment (OMP_NUM_THREADS,
            MKL_NUM_THREADS) or of a call of `torch.set_num_threads` holds.
        processes: Processes of this training on this machine, which share the cores.

    Returns:
        The threads of this process; processes that it starts get as many.

    Raises:
        ValueError: if less than one is asked for.
    """
    if asked is not None:
        check_at_least(1, threads=asked)
    if not insists and (number_is_set() or torch.get_num_threads() != _THREADS_AT_IMPORT):
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # else Lightning chooses
        return torch.get_num_threads()
    cores = max(1, min(torch.get_num_threads() // processes, usable_cores(processes)))  # torch counts no hyperthreads
    if asked is not None and asked > cores and not insists:
        rank_zero_warn(f"threads is {asked}, but there are {cores} cores for this process: --threads {cores} is faster")
    threads = asked or cores
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return threads


def local_processes(strategy: object, accelerator: str, devices: int | str | list[int], nodes: int) -> int:
    """Return how many processes train together on this machine. The arguments are those of the Trainer."""
    several = needs_several_processes(strategy, accelerator, devices, nodes)
    return max(1, _number_of(devices, accelerator)) if several else 1


def needs_several_processes(strategy: object, accelerator: str, devices: int | str | list[int], nodes: int) -> bool:
    """Return whether the trainer is to start, or to join, processes that train together.

    Args:
        strategy: As the Trainer takes it. Only "auto" and "ddp" are for us to choose.
        accelerator: As the Trainer takes it.
        devices: As the Trainer takes it: a number, indices, or "auto".
        nodes: Number of machines.
    """
    if strategy == "ddp":
        return True
    return strategy == "auto" and (nodes > 1 or _number_of(devices, accelerator) > 1)


def _number_of(devices: int | str | list[int], accelerator: str) -> int:
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:  # indices: "0,1", and "1," for the second alone
        return len([index for index in devices.split(",") if index.strip()])
    if devices in ("auto", "-1", -1):
        available = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        return torch.cuda.device_count() if available else 1
    return int(devices)
