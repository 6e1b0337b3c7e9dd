"""The precision that trains fastest on a machine, where a configuration leaves it open."""

import torch


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
