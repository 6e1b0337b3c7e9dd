"""`gan data check` and `gan data convert`, as a user runs them."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from image_files import encode, noise, write_folder
from PIL import Image

from gan.cli.data import main
from gan.data import Folder, convert

FILES = {
    f"seg_{split}/seg_{split}/{name}/{number}.jpg": encode(noise(30 + number, 40, 3, seed=number + 50 * seed), "JPEG")
    for seed, (split, name) in enumerate([("train", "cat"), ("train", "dog"), ("test", "dog")])
    for number in range(5)
}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "set", FILES | {"notes.txt": b"x"})


def all_of(root, size=(16, 24), channels=3):
    data = Folder(root, size, channels)
    images = {split: torch.cat(list(data.reference(split))) for split in data.splits}
    return images, {split: data.labels(split).tolist() for split in data.splits}, data.classes


@pytest.mark.parametrize("workers", [1, 2])
def test_a_converted_set_is_the_set(source, monkeypatch, workers):
    monkeypatch.setattr(convert, "PART", 3)
    assert main(["convert", source, "small.zip", "--size", "16", "24", "--workers", str(workers)]) == 0
    (ours, *facts), (theirs, *their_facts) = all_of("small.zip"), all_of(source)
    assert facts == their_facts
    assert all(torch.equal(ours[split], theirs[split]) for split in theirs)
    assert ours.keys() == {"train", "test"}
    table = json.loads(zipfile.ZipFile("small.zip").read("dataset.json"))
    assert table["labels"][0] == ["train/00000/img00000000.png", 0]
    assert sorted(os.listdir()) == ["set", "small.zip"]


def test_an_interrupted_conversion_goes_on(source, monkeypatch, capsys):
    monkeypatch.setattr(convert, "PART", 3)
    read, seen = convert.FileSource.__getitem__, []

    def interrupted(self, index):
        seen.append(self.names[index])
        if len(seen) == 5:
            raise KeyboardInterrupt
        return read(self, index)

    monkeypatch.setattr(convert.FileSource, "__getitem__", interrupted)
    command = ["convert", source, "small.zip", "--size", "16", "24", "--workers", "1"]
    with pytest.raises(SystemExit, match="130"):
        main(command)
    assert not os.path.exists("small.zip")
    assert main(command) == 0
    assert len(seen) == 5 + 15 - 3  # the first part is not converted again
    assert torch.equal(all_of("small.zip")[0]["train"], all_of(source)[0]["train"])


def test_what_is_there_is_not_overwritten(source, capsys):
    Path("small.zip").touch()
    with pytest.raises(SystemExit, match="1"):
        main(["convert", source, "small.zip"])
    assert os.path.getsize("small.zip") == 0
    assert capsys.readouterr().err == "error: small.zip exists already\n"


def test_damaged_images_are_all_named_or_left_out(source, capsys):
    for name in "1.jpg", "3.jpg":
        with open(f"{source}/seg_train/seg_train/dog/{name}", "wb") as file:
            file.write(b"?")
    command = ["convert", source, "small.zip", "--size", "8", "--workers", "1"]
    with pytest.raises(SystemExit, match="1"):
        main(command)
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 images are damaged" in error
    assert "dog/1.jpg" in error
    assert "dog/3.jpg" in error
    assert main([*command, "--damaged", "skip"]) == 0
    assert all_of("small.zip", 8)[1]["train"] == [0] * 5 + [1] * 3


def test_what_check_says(source, capsys):
    write_folder(source, {"seg_test/seg_test/dog/again.jpg": FILES["seg_train/seg_train/cat/0.jpg"]})
    write_folder(source, {"seg_train/seg_train/cat/bad.jpg": b"?"})
    assert main(["check", source, "--size", "32", "--workers", "2"]) == 1
    output = capsys.readouterr().out
    for line in (
        "17 images, labels: folders",
        "split train: 11 images\n  0 cat: 6\n  1 dog: 5\n",
        "split test: 6 images",
        "enlarged to 32: 7",  # heights 30 and 31, in two classes, one test set, and the copy
        "damaged: 1\n  'seg_train/seg_train/cat/bad.jpg' is no image (1 bytes)",
        "passed over: 1 .txt",
        "equal by content: 1 images more than once",
        "1 of them are in more than one split",
    ):
        assert line in output
    assert Image.open("set.sheet.png").size == (8 * 34 + 2, 2 * 34 + 2)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["check", "missing"], "error: root 'missing' does not exist"),
        (["convert", "set", "small.tar"], "error: the destination must be a zip, got small.tar"),
        (["check", "set", "--size", "0"], "error: --size must be a side"),
        (["check", "set", "--workers", "0"], "error: --workers must be at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line(source, arguments, line, capsys):
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    assert capsys.readouterr().err.startswith(line)
    assert os.listdir() == ["set"]


def test_help_waits_for_no_torch():
    code = "import sys; sys.argv[1:] = []\nfrom gan.cli.data import main\ntry: main(['-h'])\nexcept SystemExit: pass\n"
    result = subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], capture_output=True)
    assert result.returncode == 0, result.stderr
