import copy

import pytest
import torch
from fakes import Corners
from torch import multiprocessing, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore as TorchmetricsInceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from gan.metrics import Frechet, InceptionScore, KernelDistance, PrecisionRecall, evaluate
from gan.metrics.torchmetrics import ScoreMetric

SHAPE = (3, 8, 8)


class Network(nn.Module):
    """Nine features of an image, which are its logits as well."""

    name = "network"

    def forward(self, images):
        features = nn.functional.avg_pool2d(images.float() / 255, 4)[:, :, :2, :2].flatten(1)[:, :9]
        return features, 40 * features


class Part(nn.Module):
    """What torchmetrics takes: a network with one output."""

    num_features = 9

    def __init__(self, part):
        super().__init__()
        self.network, self.part = Network(), part

    def forward(self, images):
        return self.network(images)[self.part]


def images(n, seed=0):
    return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


FAKE, REAL = images(60) // 2, images(50, seed=1)


def updated(metric):
    for real, batches in ((False, FAKE), (True, REAL)):
        for batch in batches.split(7):
            metric.update(batch, real=real)
    return metric


def make(score, network=None):
    return ScoreMetric(score, network or Network(), SHAPE)


def test_frechet_is_torchmetrics_fid():
    theirs = updated(FrechetInceptionDistance(Part(0)).set_dtype(torch.float64)).compute()
    assert updated(make(Frechet())).compute()["fd_network"] == pytest.approx(float(theirs), rel=1e-6)
    assert evaluate(FAKE, REAL, Network()).values["fd_network"] == pytest.approx(float(theirs), rel=1e-6)


def test_inception_score_is_torchmetrics():
    """Of one split: torchmetrics shuffles in another order."""
    theirs = TorchmetricsInceptionScore(Part(1), splits=1)
    theirs.update(FAKE)
    expected = float(theirs.compute()[0])
    assert expected > 1.1
    assert updated(make(InceptionScore(1))).compute()["is_network"] == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_torchmetrics_kid():
    """Of one subset of all images: torchmetrics draws in another order."""
    fake = FAKE[:50]
    theirs = KernelInceptionDistance(Part(0), subsets=1, subset_size=50)
    theirs.update(fake, real=False)
    theirs.update(REAL, real=True)
    score = KernelDistance(subsets=1, subset_size=50)
    values = evaluate(fake, REAL, Network(), [score]).values
    assert values["kd_network"] == pytest.approx(float(theirs.compute()[0]), rel=1e-4)


SCORES = [Frechet(), InceptionScore(3), KernelDistance(7, 10), PrecisionRecall()]


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_is_what_evaluate_computes(score):
    expected = evaluate(FAKE, REAL, Network(), [score]).values
    metric = updated(make(score))
    assert metric.compute() == pytest.approx(expected, rel=1e-12)
    assert copy.deepcopy(metric).compute() == metric.compute()


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_reset_forgets(score):
    metric = updated(make(score))
    expected = metric.compute()
    metric.reset()
    with pytest.raises(ValueError, match=r"update\(images\) has to be called before compute"):
        metric.compute()
    assert updated(metric).compute() == expected


def test_the_network_is_in_no_checkpoint():
    metric = make(Frechet(), Corners())
    assert not metric.state_dict()
    assert not list(metric.parameters())


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="InceptionScore needs logits"):
        make(InceptionScore(), Part3())
    metric = make(Frechet())
    metric.update(FAKE)
    with pytest.raises(ValueError, match="Frechet needs reference images to compare with, got none"):
        metric.compute()


class Part3(nn.Module):
    def forward(self, images):
        return Network()(images)[0], None


def in_process(rank, world_size, address, path):
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    found = []
    for score in SCORES:
        metric = make(score)
        metric.update(FAKE[:40] if rank == 0 else FAKE[40:])
        metric.update(REAL[:10] if rank == 0 else REAL[10:], real=True)
        found.append(metric.compute())
    if rank == 0:  # alone: as `dist_sync_on_step=False` computes
        alone = updated(ScoreMetric(KernelDistance(7, 10), Network(), SHAPE, sync_on_compute=False))
        found.append(alone.compute())
    torch.save(found, f"{path}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_compute_what_one_does(tmp_path):
    expected = [updated(make(score)).compute() for score in SCORES]
    arguments = (2, f"file://{tmp_path}/rendezvous", tmp_path / "values")
    multiprocessing.start_processes(in_process, arguments, nprocs=2, start_method="fork")
    for rank in range(2):
        found = torch.load(tmp_path / f"values.{rank}")
        for values, other in zip(found, [*expected, expected[2]], strict=False):
            assert values == pytest.approx(other, rel=1e-9)
        assert len(found) == 5 - rank
