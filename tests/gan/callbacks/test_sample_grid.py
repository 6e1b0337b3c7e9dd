import numpy as np
import pytest
from small_trainings import small_networks

from gan.latents import sample_inputs


def test_a_sample_is_made_from_what_its_place_in_a_block_says():
    generator, _ = small_networks("dcgan")
    z, y = sample_inputs(generator, 70, seed=7, start=60)  # the last 4 of block 0, block 1, the first 2 of block 2
    noise = [np.random.default_rng((7, 5, block)).standard_normal((64, 8), dtype=np.float32) for block in range(3)]
    labels = [np.random.default_rng((7, 6, block)).integers(0, 10, 64) for block in range(3)]
    assert np.array_equal(z, np.concatenate(noise)[60:130])
    assert np.array_equal(y, np.concatenate(labels)[60:130])


def test_truncation_redraws_what_is_beyond_and_keeps_the_rest():
    generator, _ = small_networks("dcgan")
    plain, _ = sample_inputs(generator, 70, seed=7)
    cut, _ = sample_inputs(generator, 70, seed=7, truncation=0.7)
    assert cut.abs().max() <= 0.7
    inside = plain.abs() <= 0.7
    assert np.array_equal(cut[inside], plain[inside])
    again, _ = sample_inputs(generator, 3, seed=7, start=65, truncation=0.7)
    assert np.array_equal(again, cut[65:68]), "by position"
    second = np.random.default_rng((7, 9, 0, 0)).standard_normal((64, 8), dtype=np.float32)
    taken = ~inside[:64].numpy() & (np.abs(second) <= 0.7)
    assert np.array_equal(cut[:64].numpy()[taken], second[taken])
    for wrong in 0, -1, float("nan"):
        with pytest.raises(ValueError, match=r"truncation must be at least 0\.01"):
            sample_inputs(generator, 1, seed=0, truncation=wrong)
