"""Noise of a band of frequencies has that band and no other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import noise_bands
from benchmarks.noise_bands import BANDS, accuracies, noise_of_band, table
from gan.data.sources import MemorySource
from robustness.measurement import Images


@pytest.mark.parametrize("band", BANDS.values(), ids=BANDS)
def test_noise_has_the_frequencies_of_its_band_alone(band):
    noise = noise_of_band(np.random.default_rng(0).standard_normal((3, 32, 32)), band)
    energy = np.abs(np.fft.fft2(noise)).sum(0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    inside = (band[0] <= frequency) & (frequency < band[1])
    assert energy[~inside].max() < 1e-9
    assert energy[inside].min() > 1e-3
    assert np.square(noise).mean() == pytest.approx(1)


def test_the_bands_are_all_frequencies():
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    assert (sum(((low <= frequency) & (frequency < high)).astype(int) for low, high in BANDS.values()) == 1).all()


class _Rough(nn.Module):
    """Says 1 where neighbours differ by more than 0.06, root mean square."""

    def forward(self, x):
        rough = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3)).sqrt() / 2  # of [-1, 1]
        return torch.stack([torch.full_like(rough, 0.06), rough], 1)


def test_a_classifier_of_roughness_is_wrong_from_a_quarter_on(monkeypatch):
    """Noise of one frequency f differs between neighbours by 2 |sin(pi f)| times its own root mean square."""
    for name in ("find_checkpoint", "network_of"):
        monkeypatch.setattr(noise_bands, name, lambda _: _Rough())
    monkeypatch.setattr(noise_bands, "read_checkpoint", lambda *_: None)
    source = MemorySource(torch.full((4, 3, 32, 32), 128, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    found = accuracies(Path("run"), Images.choose(source, None))
    assert found == {"clean": 100, "below 1/8": 100, "1/8 to 1/4": 100, "1/4 to 3/8": 0, "above 3/8": 0}


def test_the_table_by_hand():
    lines = [{"run": f"conv-seed{seed}", "clean": 60 + 2 * seed, **dict.fromkeys(BANDS, 50.0)} for seed in (0, 1)]
    assert table(lines, ["conv"]).splitlines()[2:] == ["| conv | 61.0 ± 1.4" + " | 50.0 ± 0.0" * 4 + " |"]
