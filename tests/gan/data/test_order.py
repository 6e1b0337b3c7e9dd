from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.data.order import Order
from gan.randomness import Stream, rng


def order(num_images=10, batch_size=4, batches_per_step=1, seed=7, flip=True, **ranks):
    return Order(num_images, batch_size, batches_per_step, seed, flip, **ranks)


def indices(order, steps):
    return np.concatenate([order.batch(step)[0] for step in steps])


def test_an_element_is_what_its_position_says():
    # Step 3, update 1 of 2, element 2 of 5: position (3 * 2 + 1) * 5 + 2 = 37, in a set of 10 the eighth of epoch 3.
    images, flips = order(10, batch_size=5, batches_per_step=2, seed=7).batch(3)
    assert images[1 * 5 + 2] == rng(7, Stream.ORDER, 3).permutation(10)[7]
    assert flips[1 * 5 + 2] == (rng(7, Stream.FLIP, 3).random(10)[7] < 0.5)


def test_every_epoch_is_another_permutation():
    epochs = indices(order(12, batch_size=4), range(9)).reshape(3, 12)
    assert np.array_equal(np.sort(epochs), np.tile(np.arange(12), (3, 1)))
    assert all((a != b).any() for a, b in pairwise(epochs))


def test_batches_cross_the_ends_of_epochs():
    stream = indices(order(10, batch_size=4), range(5))  # the third batch has two images of either epoch
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))


@pytest.mark.parametrize("num_images", [1, 3])
def test_a_set_may_be_smaller_than_a_batch(num_images):
    stream = indices(order(num_images, batch_size=6), range(2))
    assert np.array_equal(
        np.sort(stream.reshape(-1, num_images)), np.tile(np.arange(num_images), (12 // num_images, 1))
    )


def test_updates_of_the_discriminator_go_on_in_the_same_stream():
    assert np.array_equal(indices(order(batches_per_step=3), range(4)), indices(order(), range(12)))


@given(
    num_images=st.integers(1, 40),
    local=st.integers(1, 5),
    world_size=st.integers(1, 4),
    batches_per_step=st.integers(1, 3),
    step=st.integers(0, 10**6),
)
def test_processes_share_the_global_batch(num_images, local, world_size, batches_per_step, step):
    arguments = (num_images, local * world_size, batches_per_step)
    whole = order(*arguments).batch(step)
    slices = [order(*arguments, rank=rank, world_size=world_size).batch(step) for rank in range(world_size)]
    for together, apart in zip(whole, zip(*slices, strict=True), strict=True):
        by_update = [part.reshape(batches_per_step, local) for part in apart]
        assert np.array_equal(np.concatenate(by_update, axis=1).ravel(), together)


def test_half_of_the_images_are_mirrored_and_others_in_each_epoch():
    many = order(10_000, batch_size=10_000)
    first, second = many.batch(0)[1], many.batch(1)[1]
    for share in first.mean(), second.mean(), (first ^ second).mean():
        assert abs(share - 0.5) < 5 * 0.5 / 100  # five standard deviations


def test_without_flips_the_order_is_the_same():
    mirrored, plain = order(flip=True).batch(5), order(flip=False).batch(5)
    assert np.array_equal(mirrored[0], plain[0])
    assert not plain[1].any()


def test_the_seed_decides():
    assert (order(1000, 1000, seed=1).batch(0)[0] != order(1000, 1000, seed=2).batch(0)[0]).any()


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"batch_size .* divisible .* got 5 for 2 processes"):
        order(batch_size=5, rank=0, world_size=2)
