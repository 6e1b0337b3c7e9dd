import pytest
import torch
from fakes import statistics_of
from torch_fidelity.metric_prc import prc_features_to_metric

from gan.metrics import manifold
from gan.metrics.manifold import DensityCoverage, PrecisionRecall, ball_radii, nearest_distance, num_containing_balls
from gan.metrics.statistics import FeatureBank, FeatureBatch


def compute(score, fake, real, network="inception"):
    return score.compute(statistics_of(FeatureBank(), fake), statistics_of(FeatureBank(), real), network)


def on_a_line(*places):
    return torch.tensor(places, dtype=torch.float32)[:, None]


def features(n, d=6, seed=0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_distances_and_radii_on_a_line():
    points = on_a_line(0, 1, 3, 7)
    assert nearest_distance(on_a_line(2, 6), points, 2).tolist() == pytest.approx([1, 3])
    assert ball_radii(points, 1).tolist() == pytest.approx([1, 1, 2, 4])
    assert ball_radii(points, 2).tolist() == pytest.approx([3, 2, 3, 6])


def test_balls_on_a_line():
    # Balls [-1, 1], [0, 2], [1, 5], [3, 11]
    centers, radii = on_a_line(0, 1, 3, 7), torch.tensor([1.0, 1.0, 2.0, 4.0])
    queries = on_a_line(-2, 0.5, 1, 4, 12)
    assert num_containing_balls(queries, centers, radii, closed=True).tolist() == [0, 2, 3, 2, 0]
    assert num_containing_balls(queries, centers, radii, closed=False).tolist() == [0, 2, 1, 2, 0]


def test_precision_and_recall_on_a_line():
    # 0.5 and 4 lie in real balls; the fakes' balls [-3, 4], [0.5, 7.5] and [4, 36] hold all real points
    got = compute(PrecisionRecall(neighbors=1), on_a_line(0.5, 4, 20), on_a_line(0, 1, 3, 7))
    assert got == pytest.approx({"precision_inception": 2 / 3, "recall_inception": 1})


def test_density_and_coverage_on_a_line():
    # Real balls [-1, 1], [0, 2], [1, 5], [3, 11]: 0.5 lies in two, 4 in two, 20 in none; all hold one
    got = compute(DensityCoverage(neighbors=1), on_a_line(0.5, 4, 20), on_a_line(0, 1, 3, 7))
    assert got == pytest.approx({"density_inception": 4 / 3, "coverage_inception": 1})
    got = compute(DensityCoverage(neighbors=1), on_a_line(-0.5, 20), on_a_line(0, 1, 3, 7))
    assert got == pytest.approx({"density_inception": 1 / 2, "coverage_inception": 1 / 4})


@pytest.mark.parametrize("score", [PrecisionRecall(), DensityCoverage()])
def test_where_all_features_lie_does_not_matter(score):
    fake, real = features(200, 16, seed=1, shift=1000), features(200, 16, seed=2, shift=1000)
    assert compute(score, fake, real) == compute(score, fake - 1000, real - 1000)  # exact differences


@pytest.mark.parametrize("score", [PrecisionRecall(), DensityCoverage()])
def test_equal_sets_are_perfect_and_distant_ones_worthless(score):
    x = features(50)
    equal, distant = compute(score, x, x.flip(0)), compute(score, x, x + 1000)
    for name in ("recall_inception", "precision_inception", "coverage_inception"):
        assert equal.get(name, 1) == 1
    assert set(distant.values()) == {0}


@pytest.mark.parametrize("shift", [0, 1, 100])
def test_copies_of_an_image_are_at_no_distance(shift):
    """Balls of radius 0: they hold the copies in their rims, which count in precision and recall alone."""
    x = features(40, 64, shift=shift)
    fake, real = x.repeat(3, 1).flip(0), x.repeat(5, 1)
    assert compute(PrecisionRecall(neighbors=2), fake, real) == {"precision_inception": 1, "recall_inception": 1}
    assert compute(DensityCoverage(neighbors=2), fake, real) == {"density_inception": 0, "coverage_inception": 0}


def by_differences(fake, real, k):
    """All four scores from every single difference, without a matrix product, in float64."""
    real, fake = real.double(), fake.double()

    def distances(a, b):
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")

    between, of_real, of_fake = (distances(*pair) for pair in ((fake, real), (real, real), (fake, fake)))
    radii, others = (each.kthvalue(k + 1, dim=1).values for each in (of_real, of_fake))
    return {
        "precision_inception": (between <= radii).any(1).double().mean().item(),
        "recall_inception": (others >= between.T).any(1).double().mean().item(),
        "density_inception": (between < radii).sum(1).double().mean().item() / k,
        "coverage_inception": (between.min(0).values < radii).double().mean().item(),
    }


def both(fake, real, k):
    return compute(PrecisionRecall(k), fake, real) | compute(DensityCoverage(k), fake, real)


@pytest.mark.parametrize("score", [PrecisionRecall(), DensityCoverage()])
def test_the_reference_is_measured_once(monkeypatch, score):
    reference, other = ({"features": features(60, seed=seed)} for seed in (1, 2))
    expected = score.compute({"features": features(50)}, reference, "x")
    measured, nearest = [], manifold.nearest_distance
    monkeypatch.setattr(manifold, "nearest_distance", lambda *sets: measured.append(len(sets[1])) or nearest(*sets))
    assert score.compute({"features": features(50)}, reference, "x") == expected
    assert 60 not in measured, "its radii are known"
    assert score.compute({"features": features(50)}, other, "x") != expected
    assert 60 in measured


@pytest.mark.parametrize("width", [2, 64])
@pytest.mark.parametrize("far", [10, 1000])
def test_tight_clusters_are_not_taken_for_copies(width, far):
    """In float32 the distances within a cluster are lost in the rounding of those between: all balls were empty."""
    centers = torch.tensor([0.0, far * width**0.5]).repeat_interleave(100)[:, None] * torch.eye(width)[0]
    fake, real = features(200, width) + centers, features(200, width, seed=1) + centers
    assert both(fake, real, 5) == pytest.approx(by_differences(fake, real, 5))


@pytest.mark.parametrize("far", [0, 3_000, 10_000])
def test_copies_of_neighbours_lie_on_the_rim(far):
    """Where the k-th neighbour was copied, it is as far as the ball reaches, by whatever way that is computed."""
    real = features(300, 64)
    real[::2, 0] += 8 * far
    assert both(real[:60], real, 5) == pytest.approx(by_differences(real[:60], real, 5))


def test_images_between_their_neighbours_lie_in_three_balls():
    """Each with neighbours at 1 and -2 on a line of its own: radii 2, 3 and 3, the image itself at 0."""
    x, way = features(40, 64), 0.05 * features(40, 64, seed=1)
    got = compute(DensityCoverage(neighbors=2), x, torch.cat([x, x + way, x - 2 * way]))
    assert got == {"density_inception": 3 / 2, "coverage_inception": 1}


def test_density_and_coverage_are_those_of_their_authors():
    """Radii and distances as in Naeem et al.'s code, which leaves the rims out."""
    fake, real = features(200, 8, shift=0.3).double(), features(150, 8, seed=1).double()
    radii = torch.cdist(real, real).kthvalue(6, dim=1).values
    inside = torch.cdist(fake, real) < radii
    expected = {
        "density_inception": inside.double().sum(1).mean() / 5,
        "coverage_inception": inside.any(0).double().mean(),
    }
    assert compute(DensityCoverage(), fake, real) == pytest.approx({k: float(v) for k, v in expected.items()})


@pytest.mark.parametrize("block", [16, 1000])
def test_equals_torch_fidelity(monkeypatch, block):
    monkeypatch.setattr(manifold, "BLOCK", block)
    fake, real = features(80, shift=0.7), features(70, seed=1)
    expected = prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
    )
    got = compute(PrecisionRecall(), fake, real)
    assert 0.2 < got["precision_inception"] < 0.9
    assert got["precision_inception"] == pytest.approx(expected["precision"], abs=1e-7)
    assert got["recall_inception"] == pytest.approx(expected["recall"], abs=1e-7)


def test_are_named_after_any_other_network():
    x = features(9)
    assert compute(PrecisionRecall(), x, x, "digits").keys() == {"precision_digits", "recall_digits"}
    assert compute(DensityCoverage(), x, x, "digits").keys() == {"density_digits", "coverage_digits"}


def test_refuse_what_they_cannot_compute():
    with pytest.raises(ValueError, match="neighbors must be at least 1, got 0"):
        PrecisionRecall(neighbors=0)
    with pytest.raises(ValueError, match=r"DensityCoverage: neighbors must be below .* images, 5, got 5"):
        DensityCoverage().check(FeatureBatch(torch.zeros(1, 2), None, 0, 5), 100)
