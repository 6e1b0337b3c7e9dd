import math
import os

import pytest
import torch
from fakes import Corners
from torch import multiprocessing, nn

from gan.metrics import DensityCoverage, Frechet, InceptionScore, KernelDistance, PrecisionRecall, manifold
from gan.metrics.evaluator import Evaluator, StoppedError
from gan.metrics.image_set import ImageSet
from gan.metrics.reference import load

SHAPE = (3, 4, 4)


def images(n, seed=0):
    return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def a_set(images, batch_size):
    return ImageSet(len(images), batch_size, lambda batches: (images[start : start + n] for start, n in batches))


def quiet(done, total):
    pass


def scores():
    return [Frechet(), InceptionScore(3), KernelDistance(7, 10), PrecisionRecall(), DensityCoverage()]


def make(network=None, which=None):
    evaluator = Evaluator(network or Corners(), scores() if which is None else which)
    evaluator.prepare(*SHAPE)
    evaluator.check(num_images=1000, num_reference=1000)
    return evaluator


def evaluate(evaluator, fake, real, batch_size=5, progress=quiet):
    reference = evaluator.reference(a_set(real, batch_size), "real", progress)
    return evaluator.evaluate(a_set(fake, batch_size), reference, progress)


def test_of_a_shift_by_hand():
    real = images(40) // 2
    values = evaluate(make(which=[Frechet()]), real + 10, real)
    assert values == {"fd_corners": pytest.approx(3 * 10**2)}


def test_all_scores_come_from_one_pass():
    seen = []

    class Counting(Corners):
        name = "corners"

        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    evaluator = make(Counting())
    seen.clear()
    values = evaluate(evaluator, images(23), images(30, seed=1))
    assert sum(seen) == 23 + 30
    assert set(values) == {
        *("fd_corners", "is_corners", "is_corners_std", "kd_corners", "kd_corners_std"),
        *("precision_corners", "recall_corners", "density_corners", "coverage_corners"),
    }


def test_reference_is_computed_once_for_all_runs():
    real = images(30)
    first = evaluate(make(), images(23, 1), real)

    def never(batches):
        raise AssertionError

    evaluator = make()
    reference = evaluator.reference(ImageSet(30, 5, never), "real", quiet)
    assert evaluator.evaluate(a_set(images(23, 1), 5), reference, quiet) == first


def test_radii_of_the_reference_are_computed_once_for_all_runs(monkeypatch):
    score = PrecisionRecall(4)
    first = evaluate(make(which=[score]), images(23, 1), images(30))
    radii = manifold.ball_radii
    with monkeypatch.context() as patch:
        patch.setattr(manifold, "ball_radii", lambda features, k: 1 / 0 if len(features) == 30 else radii(features, k))
        assert evaluate(make(which=[score]), images(23, 1), images(30)) == first
    other = make(which=[PrecisionRecall(2), score])
    reference = other.reference(ImageSet(30, 5, lambda batches: 1 / 0), "real", quiet)[score.statistics]
    for neighbors in 2, 4:  # the cache has those of both now
        assert torch.equal(reference[f"radii of {neighbors} neighbors"], radii(reference["features"], neighbors))
    assert load(next(iter(other.reference_files("real").values())), torch.device("cpu")).keys() == reference.keys()


@pytest.mark.parametrize("change", ["weights", "images", "name", "resize", "precision", "code"])
def test_reference_of_something_else_is_not_taken(change):
    network, images_hash = Corners(), "real"
    evaluate(make(network), images(23, 1), images(30))
    if change == "weights":
        network = Corners()
        network.scale.data.fill_(2)
    elif change == "images":
        images_hash = "other"
    elif change == "code":
        network = Corners()
        network.forward = lambda images: Corners.forward(network, 255 - images)
    else:
        network = Corners()
        setattr(network, change, "other")
    done = []
    make(network).reference(a_set(images(30), 5), images_hash, lambda *progress: done.append(progress))
    assert done


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("score", scores(), ids=str)
def test_what_is_not_finite_is_refused(score, which, value):
    """A single number of one image, be it a feature that the score looks at or a logit."""

    class Faulty(Corners):
        def forward(self, images):
            outputs = super().forward(images)
            if len(images) > 1:
                outputs[which][1, 0] = value
            return outputs

    real = make(which=[score]).reference(a_set(images(30), 5), "real", quiet)
    evaluator = make(Faulty(), [score])
    if (which == 1) == score.uses_logits:
        with pytest.raises(FloatingPointError, match="the feature network faulty returned numbers that are not finite"):
            evaluator.evaluate(a_set(images(23), 5), real, quiet)
    else:
        assert all(map(math.isfinite, evaluator.evaluate(a_set(images(23), 5), real, quiet).values()))


def test_a_damaged_reference_is_computed_again(cache):
    expected = evaluate(make(), images(23, 1), images(30))
    damaged = next(cache.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged"):
        assert evaluate(make(), images(23, 1), images(30)) == expected
    assert evaluate(make(), images(23, 1), images(30)) == expected  # and mended


def test_without_a_reference_none_is_looked_at():
    assert make(which=[InceptionScore()]).reference(ImageSet(30, 5, lambda batches: 1 / 0), "real", quiet) == {}


def test_a_distance_needs_a_reference():
    with pytest.raises(ValueError, match="Frechet needs reference images to compare with, got none"):
        make().check(1000, num_reference=0)


def test_stops_between_batches_and_has_no_result():
    evaluator, done = make(which=[InceptionScore(3)]), []
    with pytest.raises(StoppedError):
        evaluator.evaluate(a_set(images(23), 5), {}, lambda n, _: done.append(n), lambda: len(done) == 2)
    assert done == [5, 10]
    evaluator.evaluate(a_set(images(23), 5), {}, should_stop=lambda: done.append(0))
    assert done == [5, 10, *[0] * 4], "not asked after the last batch"


def stop_in_one_process(rank, world_size, address):
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    done = []
    with pytest.raises(StoppedError):
        make().reference(a_set(images(73), 5), "x", lambda n, _: done.append(n), lambda: rank == 1 and len(done) == 3)
    assert done == [10, 20, 30]
    torch.distributed.destroy_process_group()


def test_all_processes_stop_if_one_should(tmp_path):
    """A process that went on would wait for the other one for ever; one with an assertion that fails raises here."""
    arguments = (2, f"file://{tmp_path}/rendezvous")
    multiprocessing.start_processes(stop_in_one_process, arguments, nprocs=2, start_method="fork")


def test_settings_of_torch_do_not_change_the_values():
    expected = make().extract(images(5))[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(make().extract(images(5))[1], expected)


def test_progress():
    shown = []
    make(which=[InceptionScore()]).evaluate(a_set(images(23), 10), {}, lambda done, total: shown.append((done, total)))
    assert shown == [(10, 23), (20, 23), (23, 23)]


def test_logits_must_be_there_for_the_inception_score():
    class Plain(nn.Module):
        def forward(self, x):
            return x[:, :, 0, 0].float(), None

    assert set(evaluate(make(Plain(), [Frechet()]), images(23), images(30))) == {"fd_plain"}
    with pytest.raises(ValueError, match="InceptionScore needs logits, but the feature network plain has none"):
        make(Plain(), [Frechet(), InceptionScore()])


def test_only_the_papers_network_makes_an_fid():
    class Inception(Corners):
        pass

    assert set(evaluate(make(Inception(), [Frechet()]), images(23), images(30))) == {"fd_inception_custom"}


def test_a_wrong_network_is_found_before_the_first_evaluation():
    with pytest.raises(ValueError, match=r"must return \(features"):
        make(nn.Flatten())


def test_the_network_is_frozen_and_in_evaluation_mode():
    network = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
    Evaluator(network, [Frechet()])
    assert not network[1].training
    assert not network[0].weight.requires_grad


def in_process(rank, world_size, address, fake, real, path):
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    values = evaluate(make(), fake, real)
    torch.save({"values": values, "again": evaluate(make(), fake, real)}, f"{path}.{rank}")
    torch.distributed.destroy_process_group()


# 11 images are two blocks of 5 and one of 1; of 3 processes one has only the last; with 4, one has none
@pytest.mark.parametrize(("count", "world_size"), [(37, 2), (11, 3), (11, 4)])
def test_processes_compute_what_one_does(tmp_path, count, world_size):
    fake, real = images(count), images(41, seed=1)
    expected = evaluate(make(), fake, real)
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    address = f"file://{tmp_path}/rendezvous"
    arguments = (world_size, address, fake, real, tmp_path / "values")
    multiprocessing.start_processes(in_process, arguments, nprocs=world_size, start_method="fork")
    for rank in range(world_size):
        got = torch.load(tmp_path / f"values.{rank}")
        assert got["values"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert got["again"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def with_own_cache(rank, world_size, address, fake, real, path):
    os.environ["CONVNORM_GAN_CACHE"] = f"{path}.cache.{rank}"
    in_process(rank, world_size, address, fake, real, path)


def test_processes_agree_though_only_one_finds_the_reference(tmp_path, monkeypatch):
    fake, real = images(37), images(41, seed=1)
    monkeypatch.setenv("CONVNORM_GAN_CACHE", str(tmp_path / "values.cache.1"))
    expected = evaluate(make(), fake, real)
    arguments = (2, f"file://{tmp_path}/rendezvous", fake, real, tmp_path / "values")
    multiprocessing.start_processes(with_own_cache, arguments, nprocs=2, start_method="fork")
    for rank in range(2):
        assert torch.load(tmp_path / f"values.{rank}")["values"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
