import pytest
import torch

from gan.cli.machine import chosen_accelerator
from gan.data.transfer import send


@pytest.mark.parametrize(
    ("asked", "apple", "chosen"),
    [("auto", True, "cpu"), ("auto", False, "auto"), ("mps", True, "mps"), ("gpu", True, "gpu"), ("cpu", True, "cpu")],
)
def test_an_apple_gpu_is_used_when_asked_for_by_name(asked, apple, chosen, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    assert chosen_accelerator(asked) == chosen


def test_what_is_sent_comes_from_pinned_memory(monkeypatch):
    """CUDA copies without waiting from pinned memory alone."""
    pinned: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(id(self)) or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, non_blocking: (device.type, non_blocking))
    x = torch.zeros(2)
    assert [send(x, torch.device(device)) for device in ("cpu", "cuda")] == [("cpu", True), ("cuda", True)]
    assert pinned == [id(x)]
