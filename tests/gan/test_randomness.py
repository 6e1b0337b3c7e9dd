import pytest

from gan.randomness import Stream, integers, normal, rng, uniform

# A stream, its number, and the first integers below 1000 that NumPy's generator of (7, that number, 3, 1) draws
DRAWN = [
    (Stream.ORDER, 0, [636, 788, 837, 212]),
    (Stream.FLIP, 1, [656, 534, 672, 281]),
    (Stream.NOISE, 2, [455, 851, 448, 653]),
    (Stream.LABELS, 3, [981, 417, 197, 507]),
    (Stream.MIX, 4, [193, 314, 324, 850]),
    (Stream.SAMPLES, 5, [859, 725, 306, 132]),
    (Stream.SAMPLE_LABELS, 6, [721, 70, 823, 808]),
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
