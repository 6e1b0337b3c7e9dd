import pytest
import torch

from gan.cli.machine import fastest_precision


@pytest.mark.parametrize(
    ("accelerator", "cuda", "capabilities", "expected"),
    [
        ("auto", True, {}, "bf16-mixed"),
        ("gpu", True, {}, "bf16-mixed"),
        ("cpu", True, {}, "32-true"),
        ("cpu", False, {"avx512_bf16": True}, "bf16-mixed"),
        ("auto", False, {"amx_bf16": True}, "bf16-mixed"),
        ("auto", False, {"avx512_bf16": False, "avx2": True}, "32-true"),
        ("auto", False, {"bf16": True, "neon": True}, "32-true"),
        ("mps", False, {"amx_bf16": True}, "32-true"),
    ],
)
def test_bfloat16_where_there_are_units_for_it(accelerator, cuda, capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: accelerator == "mps")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest_precision(accelerator) == expected


def test_a_gpu_without_units_gets_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert fastest_precision("auto") == "32-true"
