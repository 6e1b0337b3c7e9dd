"""Data loaders of one's own: what they yield is checked, and the right thing trains as `ImageData` does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from small_trainings import small_gan, small_networks
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from gan.callbacks import EMA, Announcement, Evaluation, Overfitting
from gan.losses import Hinge
from gan.metrics import DigitsClassifier, Frechet
from gan.module import GAN
from gan.norms import ConditionalBatch
from gan.training.real_images import check_batch

IMAGES = torch.randint(256, (16, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 10


def loader(images: Tensor = IMAGES, labels: Tensor = LABELS, batch: int = 8, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(images, labels), batch, **options)


class OwnData(LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return loader()


def fit(module: GAN, tmp_path: Path, *callbacks: Callback, **data: Any) -> GAN:
    quiet = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}
    settings = {"callbacks": [Announcement(), EMA(100.0), *callbacks], "default_root_dir": tmp_path, **quiet}
    Trainer(max_steps=3, accelerator="cpu", **settings).fit(module, **data)
    return module


def test_loaders_and_data_modules_train_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = fit(small_gan(), tmp_path, train_dataloaders=loader())
    second = fit(small_gan(), tmp_path, datamodule=OwnData())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert first.batch_size == 8
    assert "3 steps on data that are no ImageData" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ({"images": IMAGES / 127.5 - 1}, {}, r"got float32 \(8, 1, 32, 32\) in \[-1, 1\]. gan.images.to_uint8"),
        ({"images": IMAGES / 255}, {}, r"in \[0, 1\]. images.mul\(255\)"),
        ({"images": IMAGES.long()}, {}, r"got images int64 \(8, 1, 32, 32\)"),
        ({"images": IMAGES[:, 0]}, {}, r"got images uint8 \(8, 32, 32\)"),
        ({"labels": LABELS.float()}, {}, r"got labels float32 \(8,\) for 8 images"),
        ({"images": IMAGES[..., :16]}, {}, r"built for images \(1, 32, 32\), got \(1, 32, 16\)"),
        ({"batch": 12}, {}, "every batch must have as many images as the first: 12, now 4"),
        ({}, {"micro_batches": 3}, "micro_batches must divide a process' 8 images, got 3"),
        ({}, {"discriminator_steps": 3}, "a training step takes 3 equal batches, got 8 images"),
    ],
)
def test_says_what_is_expected(data: dict[str, Any], arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fit(small_gan(**arguments), tmp_path, train_dataloaders=loader(**data))


@pytest.mark.parametrize("batch", [IMAGES, [IMAGES], {"image": IMAGES}, (IMAGES, LABELS, LABELS)])
def test_other_batches_are_named(batch: Any) -> None:
    with pytest.raises(ValueError, match=r"a batch must be \(images, labels\).*; got "):
        check_batch(batch)


def test_labels_beyond_the_classes_are_refused() -> None:
    module = GAN(*small_networks("dcgan", conditional=True), Hinge(), [ConditionalBatch()])
    with pytest.raises(ValueError, match="labels 0 to 9, got 0 to 10"):
        module.check_own_images(IMAGES, torch.arange(16) % 11)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Overfitting(), "Overfitting looks at images of an ImageData"),
        (Evaluation(DigitsClassifier(), [Frechet()], num_samples=8), "Evaluation compares with an ImageData"),
    ],
)
def test_callbacks_that_need_the_images_say_so_before_the_first_step(
    callback: Callback, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"{message}.* come from another data loader"):
        fit(small_gan(), tmp_path, callback, train_dataloaders=loader())
