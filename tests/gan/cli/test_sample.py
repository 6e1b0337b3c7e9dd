"""`gan sample` as users call it."""

import shutil
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_trainings import forked, limit_files

import gan
from gan.cli.main import main

ROOT = Path(__file__).parents[3]
RUN = "runs/quickstart/version_0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps, whose generator is conditional."""
    root = tmp_path_factory.mktemp("trained")
    small = ["--model.generator.width=4", "--model.discriminator.width=4", "--data.batch_size=8"]
    grid = "{class_path: gan.callbacks.SampleGrid, init_args: {rows: 2, columns: 3}}"
    callbacks = f"--trainer.callbacks=[{grid}, {{class_path: gan.callbacks.Checkpoint}}]"
    machine = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", callbacks, "--seed_everything=7"]
    configs = ["--config", "quickstart", "--config", "metrics/none", f"--trainer.default_root_dir={root / 'runs'}"]
    main(["fit", *configs, *small, *machine, "--trainer.max_steps=2", "--model.generator_norms=[ConditionalBatch]"])
    return root


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A folder with nothing but a checkpoint of that run."""
    (tmp_path / RUN / "checkpoints").mkdir(parents=True)
    shutil.copy(trained / RUN / "checkpoints" / "step_00000002.ckpt", tmp_path / RUN / "checkpoints")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_samples_do_not_change(folder, capsys):
    main(["sample", RUN, "--num", "70", "--out", "few"])
    assert "70 images are in few" in capsys.readouterr().out
    main(["predict", RUN, "--num", "80", "--out", "more.Zip"])
    written = {str(path.relative_to(folder / "few")): path for path in (folder / "few").rglob("*.png")}
    assert len(written) == 70
    with zipfile.ZipFile(folder / "more.Zip") as archive:
        assert len(archive.namelist()) == 80
        assert all(archive.read(name) == path.read_bytes() for name, path in written.items())
    (path,) = (folder / "few").rglob("00000065.png")
    pixels = torch.tensor(list(Image.open(path).getdata())).view(1, 32, 32)
    expected = gan.load(RUN).sample(1, torch.tensor([int(path.parent.name)]), seed=7, start=65)[0]
    assert (pixels - expected.int()).abs().max() <= 1  # another batch size may round differently


def test_every_seed_comes_in_every_class(folder):
    main(["sample", RUN, "--seeds", "3,8-9", "--labels", "0,3", "--truncation", "0.7", "--format", "webp"])
    names = {str(path.relative_to("samples")) for path in Path("samples").rglob("*.webp")}
    assert names == {f"{label}/0000000{seed}.webp" for label in (0, 3) for seed in (3, 8, 9)}
    pixels = torch.tensor(list(Image.open("samples/3/00000008.webp").convert("L").getdata())).view(1, 32, 32)
    expected = gan.load(RUN).sample(1, [3], seed=8, truncation=0.7)[0]
    assert (pixels - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("classes", "asked", "folders"),
    [
        ([f"digit {number}" for number in range(10)], "digit 4,0", {"digit 4", "digit 0"}),
        ([*map(str, range(9, -1, -1))], "9", {"9"}),  # a name, not a number
        (["T-shirt, top", *"bcdefghij"], "T-shirt, top", {"T-shirt, top"}),
        (["../a", ".b", *"cdefghij"], "../a,.b", {"_._a", "_b"}),
        (["a/b", "A_B", *"cdefghij"], "a/b,c", {"0_a_b", "2_c"}),
        ([], "3", {"3"}),  # of an earlier version
    ],
)
def test_folders_have_the_names_of_their_classes(folder, classes, asked, folders):
    (path,) = Path(RUN).rglob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["gan"]["classes"] == [*map(str, range(10))]
    checkpoint["gan"]["classes"] = classes
    torch.save(checkpoint, "named.ckpt")
    main(["sample", "named.ckpt", "--num", "1", "--labels", asked])
    assert {path.relative_to("samples").parent.as_posix() for path in Path("samples").rglob("0*0.png")} == folders
    assert {path.name for path in folder.iterdir()} == {"runs", "named.ckpt", "samples"}


def test_pictures_and_films(folder, trained):
    main(["sample", RUN, "--grid", "2x3"])
    assert Path("grid.png").read_bytes() == (trained / RUN / "samples" / "step_00000002.png").read_bytes()
    main(["sample", RUN, "--interpolate", "2x4", "--out", "ways.webp"])
    assert Image.open("ways.webp").size == (2 + 4 * 34, 2 + 2 * 34)
    main(["sample", RUN, "--walk", "1x2", "--frames", "6", "--keys", "2", "--labels", "1"])
    with Image.open("walk.gif") as film:
        assert film.size == (2 + 2 * 34, 2 + 34)
    assert sorted(path.name for path in folder.iterdir()) == ["grid.png", "runs", "walk.gif", "ways.webp"]


ERRORS = [
    (["nowhere"], "there is no run or checkpoint nowhere"),
    ([RUN, "--labels", "10"], "--labels: there is no class '10'; known are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ([RUN, "--seeds", "0-x"], "argument --seeds: expected numbers such as 0-99 or 1,4,7, got '0-x'"),
    ([RUN, "--seeds", "1", "--seed", "2"], "--seed is that of a stream"),
    ([RUN, "--seeds", str(2**32)], "--seeds must be between 0 and 4294967295"),
    ([RUN, "--seed", "-1"], "seed must be between 0 and 4294967295, got -1"),
    ([RUN, "--grid", "8"], "expected rows x columns such as 8x8, got '8'"),
    ([RUN, "--grid", "2x2", "--seeds", "0-2"], "--seeds: this needs 4 of them, got 3"),
    ([RUN, "--grid", "2x2", "--out", "grid.zip"], "--out of a picture ends in .png or .webp"),
    ([RUN, "--walk", "1x1", "--out", "walk.avi"], "a walk is written to a .gif, .webp, .mp4 file"),
    ([RUN, "--walk", "1x1", "--keys", "1"], "--keys must be at least 2"),
    ([RUN, "--out", "one.png"], "--out of single images is a folder or a .zip, got one.png"),
    ([RUN, "--num", "0"], "expected a number of at least 1, got '0'"),
    ([RUN, "--device", "tpu9"], "--device tpu9 cannot be used"),
    ([RUN, "--out", "runs"], "runs exists already"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_one_line_and_leaves_nothing(folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        main(["sample", *arguments])
    assert exit_.value.code in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert [path.name for path in folder.iterdir()] == ["runs"]


def test_half_a_sample_is_none(folder, capfd):
    capfd.readouterr()  # what is captured lies in a file too

    def full_disk():
        limit_files(100)
        main(["sample", RUN, "--out", "written"])

    assert forked(full_disk) == 1
    assert "error: [Errno 27] " in capfd.readouterr().err
    for path in Path("written").rglob("*.png"):
        Image.open(path).load()  # those that were small enough are whole


def test_a_signal_leaves_no_half_of_a_sample(folder, monkeypatch):
    def interrupted(path, content):
        with open(path, "wb") as file:
            file.write(content[:9])
            raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(SystemExit):
        main(["sample", RUN, "--out", "written"])
    assert not [path for path in Path("written").rglob("*") if path.is_file()]
