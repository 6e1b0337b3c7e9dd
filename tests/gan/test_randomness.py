from types import SimpleNamespace

import pytest
import torch

from gan.randomness import Stream, integers, normal, rng, seed_torch, uniform

# A stream, its number, and the first integers below 1000 that NumPy's generator of (7, that number, 3, 1) draws
DRAWN = [
    (Stream.ORDER, 0, [636, 788, 837, 212]),
    (Stream.FLIP, 1, [656, 534, 672, 281]),
    (Stream.NOISE, 2, [455, 851, 448, 653]),
    (Stream.LABELS, 3, [981, 417, 197, 507]),
    (Stream.MIX, 4, [193, 314, 324, 850]),
    (Stream.SAMPLES, 5, [859, 725, 306, 132]),
    (Stream.SAMPLE_LABELS, 6, [721, 70, 823, 808]),
    (Stream.NETWORKS, 7, [237, 290, 691, 10]),
    (Stream.AUGMENT, 8, [666, 702, 200, 243]),
    (Stream.TRUNCATION, 9, [95, 754, 29, 418]),
    (Stream.SUBSET, 10, [203, 991, 285, 833]),
    (Stream.MIXTURE, 11, [288, 830, 98, 411]),
    (Stream.CORRUPTION, 100, [726, 798, 527, 181]),
    (Stream.ATTACK, 101, [925, 633, 491, 469]),
    (Stream.LABEL_NOISE, 102, [741, 373, 553, 778]),
    (Stream.VALIDATION, 103, [214, 170, 700, 634]),
    (Stream.CROP, 104, [73, 649, 398, 369]),
    (Stream.TESTED, 105, [910, 178, 950, 960]),
    (Stream.RESIZED_CROP, 106, [186, 573, 930, 865]),
]


@pytest.mark.parametrize(("stream", "number", "drawn"), DRAWN)
def test_streams_never_change(stream, number, drawn):
    assert stream == number
    assert integers(rng(7, stream, 3, 1), 1000, 4).tolist() == drawn
    assert (1000 * uniform(rng(7, stream, 3, 1), 2)).int().tolist() == drawn[:2]


def test_normal_numbers_never_change():
    drawn = [-0.72162598, 0.62809634, 0.21854559, 0.82288837, 0.42709753, 0.27133715]
    assert normal(rng(7, Stream.NOISE, 3, 1), 2, 3).flatten().tolist() == pytest.approx(drawn)


def test_every_stream_is_tested():
    assert [stream for stream, _, _ in DRAWN] == list(Stream)


def test_torch_goes_on_from_a_position_on_the_host_and_the_device(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(manual_seed=seeds.append))
    seed_torch(torch.device("cuda"), 7, Stream.NETWORKS, 3, 1)
    assert seeds == [torch.initial_seed()]
    drawn = torch.rand(2)
    seed_torch(torch.device("cpu"), 7, Stream.NETWORKS, 3, 1)
    assert torch.equal(torch.rand(2), drawn)
    seed_torch(torch.device("cpu"), 7, Stream.NETWORKS, 3, 0)
    assert not torch.equal(torch.rand(2), drawn)
    assert len(seeds) == 1
