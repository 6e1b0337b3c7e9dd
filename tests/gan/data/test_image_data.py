import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from image_files import encode, noise, write_folder, write_zip
from sklearn.datasets import load_digits

from gan.data import Digits, Folder, image_data, report
from gan.data.loaders import MemoryLoader, StreamLoader
from gan.data.order import Order


@pytest.fixture
def streamed(monkeypatch):
    """No set is small enough for memory."""
    monkeypatch.setattr(image_data, "MAX_ENCODED_BYTES", 0)


def attach(data, step=0, rank=0, world_size=1, batches_per_step=2):
    """Give a data module as much of a trainer as it looks at."""
    gan = SimpleNamespace(seed=5, batches_per_step=batches_per_step, stop_requested=False)
    gan.training_part = lambda source: source
    data.trainer = SimpleNamespace(lightning_module=gan, global_step=step, global_rank=rank, world_size=world_size)
    return data


def first_batch(data):
    return next(iter(data.train_dataloader()))


@pytest.fixture
def pets(tmp_path):
    files = {f"train/{pet}/{i}.png": encode(noise(7, 9, 3, seed=i)) for pet in ("cat", "dog") for i in range(4)}
    return write_zip(tmp_path / "pets.zip", files | {"test/dog/0.png": encode(noise(8, 8))})


def test_digits_are_what_networks_are_built_from():
    digits = Digits()
    assert (digits.image_size, digits.channels, digits.num_classes, digits.name) == (32, 1, 10, "digits")
    assert digits.splits == ("train",)
    assert digits.num_images("train") == 1797


def test_digits_are_the_scans_four_times_enlarged():
    images = torch.cat(list(Digits().reference("train")))
    assert images.shape == (1797, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert images.double().mean() / 255 == pytest.approx(load_digits().images.mean() / 16, rel=0.02)
    blocks = images.double().unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))[:, 0] * 16 / 255
    assert np.corrcoef(blocks.flatten(), load_digits().images.ravel())[0, 1] > 0.99


def test_digits_keep_their_labels():
    loader = attach(Digits(batch_size=1797), batches_per_step=1).train_dataloader()
    labels = next(iter(loader))[1]
    assert labels.dtype == torch.int64
    assert np.array_equal(np.sort(labels), np.sort(load_digits().target))


def test_folder_reads_splits_classes_and_name_before_any_image(pets):
    data = Folder(pets, image_size=6)
    assert (data.image_size, data.channels, data.num_classes, data.name) == (6, 3, 2, "pets")
    assert data.splits == ("train", "test")
    assert (data.num_images("train"), data.num_images("test")) == (8, 1)


def test_a_set_without_classes_has_none(tmp_path):
    data = attach(Folder(write_folder(tmp_path / "photos.v2", {"a.png": encode(noise(4, 4))}), batch_size=3))
    assert (data.num_classes, data.name) == (0, "photos.v2")
    assert not first_batch(data)[1].any()


def test_small_sets_are_in_memory(pets):
    assert isinstance(attach(Folder(pets)).train_dataloader(), MemoryLoader)


@pytest.mark.usefixtures("streamed")
def test_large_sets_are_streamed(pets):
    assert isinstance(attach(Folder(pets)).train_dataloader(), StreamLoader)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_streamed_or_not_is_no_difference(pets, num_workers, request):
    def everything():
        data = attach(Folder(pets, image_size=5, batch_size=6, num_workers=num_workers), step=3)
        return [*first_batch(data), *data.reference("train"), *data.reference("test")]

    in_memory = everything()
    request.getfixturevalue("streamed")
    assert all(torch.equal(a, b) for a, b in zip(everything(), in_memory, strict=True))


@pytest.mark.parametrize("large", [False, True], ids=["memory", "streamed"])
def test_a_batch_goes_to_the_device(pets, large, request):
    if large:
        request.getfixturevalue("streamed")
    data = attach(Folder(pets, image_size=5, batch_size=6))
    images, labels = data.transfer_batch_to_device(first_batch(data), torch.device("meta"), 0)
    assert (images.device.type, labels.device.type, images.shape[1:]) == ("meta", "meta", (3, 5, 5))


def test_the_run_s_seed_decides_on_the_order(pets):
    data = attach(Folder(pets, batch_size=4, flip=True))
    assert data.train_dataloader().order == Order(
        num_images=8, batch_size=4, batches_per_step=2, seed=5, flip=True, rank=0, world_size=1
    )


@pytest.mark.parametrize("step", [0, 7])
def test_processes_share_the_batch(pets, step):
    (whole, labels) = first_batch(attach(Folder(pets, batch_size=6), step))
    parts = [first_batch(attach(Folder(pets, batch_size=6), step, rank, world_size=3)) for rank in range(3)]
    for update in range(2):
        shares = [(images.chunk(2)[update], own.chunk(2)[update]) for images, own in parts]
        assert torch.equal(torch.cat([images for images, _ in shares]), whole.chunk(2)[update])
        assert torch.equal(torch.cat([own for _, own in shares]), labels.chunk(2)[update])


def test_the_reference_is_every_image_once_in_order_and_unmirrored(tmp_path):
    pixels = [noise(4, 4, 3, seed=i) for i in range(300)]
    root = write_zip(tmp_path / "set.zip", {f"{i:03}.png": encode(image) for i, image in enumerate(pixels)})
    batches = list(Folder(root, image_size=4, flip=True).reference("train"))
    assert max(map(len, batches)) < 300
    assert np.array_equal(torch.cat(batches), np.stack(pixels).transpose(0, 3, 1, 2))


def test_blocks_of_the_reference(pets, request):
    def blocks():
        return list(Folder(pets, image_size=5, num_workers=0).reference("train", [(3, 2), (7, 1)]))

    whole = torch.cat(list(Folder(pets, image_size=5).reference("train")))
    first, second = blocks()
    assert torch.equal(first, whole[3:5])
    assert torch.equal(second, whole[7:])
    request.getfixturevalue("streamed")
    assert all(torch.equal(a, b) for a, b in zip(blocks(), (first, second), strict=True))


@pytest.mark.usefixtures("streamed")
def test_no_image_beside_the_blocks_is_decoded(pets, monkeypatch):
    data = Folder(pets, image_size=5, num_workers=0)
    source, decoded = data.source("train"), []
    read = source.files.read
    monkeypatch.setattr(source.files, "read", lambda name: decoded.append(name) or read(name))
    assert len(list(data.reference("train", [(3, 2), (7, 1)]))) == 2
    assert decoded == [source.names[number] for number in (3, 4, 7)]


@pytest.mark.parametrize("where", ["memory", "streamed"])
def test_the_hash_is_of_the_content(tmp_path, where, request):
    if where == "streamed":
        request.getfixturevalue("streamed")
    red, blue = (encode(np.full((4, 4, 3), color, np.uint8)) for color in ([255, 0, 0], [0, 0, 255]))
    files = {"a.png": red, "b.png": blue}

    def content_hash(name, files, write=write_zip, **options):
        return Folder(write(tmp_path / name, files), **{"image_size": 4, **options}).content_hash("train")

    same = content_hash("1.zip", files)
    assert len(bytes.fromhex(same)) == 32
    assert content_hash("folder", files, write_folder) == same
    assert content_hash("2.zip", files, flip=False, batch_size=3) == same
    others = [
        content_hash("3.zip", {"a.png": red, "b.png": red}),
        content_hash("4.zip", {"a.png": blue, "b.png": red}),
        content_hash("5.zip", {"a.png": red}),
        content_hash("6.zip", files, image_size=8),
        content_hash("7.zip", files, channels=1),
    ]
    assert len({same, *others}) == 6


@pytest.mark.parametrize("ask", ["num_images", "content_hash"])
def test_an_unknown_split_is_refused_with_those_there_are(pets, ask):
    with pytest.raises(ValueError, match=r"split must be one of train, test, full_train, got 'val'"):
        getattr(Folder(pets), ask)("val")


@pytest.mark.parametrize(
    ("argument", "value", "line"),
    [
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("image_size", -3, "image_size must be at least 1, got -3"),
        ("channels", 4, r"channels must be 1 \(gray\) or 3 \(RGB\), got 4"),
        ("num_workers", -1, "num_workers must be at least 0, got -1"),
    ],
)
def test_arguments_are_checked(pets, argument, value, line):
    with pytest.raises(ValueError, match=line):
        Folder(pets, **{argument: value})


class Recorder(pl.LightningModule):
    """Trains nothing and notes what it is given; counts steps as the GAN does."""

    seed = 5
    stop_requested = False
    batches_per_step = 2

    def training_part(self, source):
        return source

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], 0.1)

    def training_step(self, batch, batch_idx):
        self.seen.append((self.trainer.global_step, batch))
        self.manual_backward(self.weight.sum())
        self.optimizers().step()

    def validation_step(self, batch, batch_idx):
        self.seen.append("validate")

    def test_step(self, batch, batch_idx):
        self.seen.append("test")

    def predict_step(self, batch, batch_idx):
        self.seen.append("predict")
        return batch


def trainer(steps, **options):
    return pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )


# Without a limit Lightning sees one endless epoch; with one it makes the iterator anew after each.
@pytest.mark.parametrize("limit", [{}, {"limit_train_batches": 4}], ids=["endless", "in parts"])
@pytest.mark.parametrize("stop", [3, 4])
@pytest.mark.parametrize("where", ["memory", "streamed"])
def test_a_resumed_run_goes_on_where_it_was(pets, tmp_path, limit, stop, where, request):
    if where == "streamed":
        request.getfixturevalue("streamed")

    def run(steps, checkpoint=None):
        recorder, fitting = Recorder(), trainer(steps, **limit)
        fitting.fit(recorder, Folder(pets, image_size=4, batch_size=3, num_workers=0), ckpt_path=checkpoint)
        return recorder.seen, fitting

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(resum|dataloader)")
        whole, _ = run(9)
        before, fitting = run(stop)
        fitting.save_checkpoint(tmp_path / "a.ckpt")
        after, _ = run(9, tmp_path / "a.ckpt")
    assert [step for step, _ in before + after] == list(range(9))
    for (_, batch), (_, other) in zip(before + after, whole, strict=True):
        assert all(map(torch.equal, batch, other))


def test_the_evaluation_loops_run_once():
    recorder, data = Recorder(), Digits()
    evaluating = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    evaluating.validate(recorder, data, verbose=False)
    evaluating.test(recorder, data, verbose=False)
    evaluating.predict(recorder, data)
    assert recorder.seen == ["validate", "test", "predict"]


def test_an_unreadable_file_of_a_streamed_set_is_named(tmp_path, streamed):
    data = Folder(write_folder(tmp_path, {"a.png": encode(noise(9, 9)), "b.png": encode(noise(9, 9))}))
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match=r"^'b.png' in '.*' cannot be read: No such file"):
        data.content_hash("train")


def said(data, capsys):
    data.setup("fit")
    return capsys.readouterr().out


def test_what_was_found_is_said(pets, capsys):
    assert said(Folder(pets), capsys) == "pets: 8 training images of 2 classes (cat, dog), 4 each\n"


def test_many_classes_of_unequal_size_and_other_files(tmp_path, capsys):
    files = {
        f"{name}/{number}.png": encode(noise(4, 4)) for size, name in enumerate("abcdef", 1) for number in range(size)
    }
    others = dict.fromkeys(["a/x.txt", "a/y.txt", "z.MP4", "LICENSE", ".hidden"], b"?")
    line = said(Folder(write_folder(tmp_path / "set", files | others)), capsys)
    assert line == (
        "set: 21 training images of 6 classes (a, b, c, d, …), from 1 (a) to 6 (f); "
        "passed over: 2 .txt, 1 .mp4, 1 no suffix\n"
    )


def test_no_classes(tmp_path, capsys):
    assert (
        said(Folder(write_folder(tmp_path / "set", {"a.png": encode(noise(4, 4))})), capsys)
        == "set: 1 training images\n"
    )


@pytest.mark.parametrize(
    ("stream", "when"), [(False, "at every start, all 8 about"), (True, "each time that it is seen")]
)
def test_slow_decoding_is_said_with_what_makes_it_faster(pets, capsys, monkeypatch, stream, when, request):
    monkeypatch.setattr(report, "_SLOW_START", 0)
    monkeypatch.setattr(report, "_SLOW_IMAGE", 0)
    if stream:
        request.getfixturevalue("streamed")
    first = said(Folder(pets, image_size=(4, 8)), capsys).splitlines()[0]
    assert when in first
    assert f"gan data convert {pets} small.zip --size 4 8" in first
