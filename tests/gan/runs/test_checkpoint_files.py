"""Checkpoint files that are cut, flipped, half written, or cannot be written at all."""

import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, forked, small_gan

import gan
from gan.callbacks import AtomicCheckpointIO, Checkpoint
from gan.runs.checkpoints import find_checkpoint, newest_checkpoint, read_checkpoint
from gan.runs.folder import checkpoint_path, checkpoints
from gan.runs.logger import RunLogger


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of the steps 0 to 3, small enough to be read often."""
    for step in range(4):
        content = {"gan": {"step": step}, "weights": torch.arange(5.0) + step}
        AtomicCheckpointIO().save_checkpoint(content, checkpoint_path(tmp_path, step))
    return tmp_path


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(run):
    """In torch's padding and in dates of the archive a bit may flip; everywhere else it is seen."""
    path = find_checkpoint(run)
    whole, refusals = path.read_bytes(), []
    for position in range(len(whole)):
        flip(path, position, bit=position % 8)
        try:
            content = read_checkpoint(path)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert content["gan"] == {"step": 3}
            assert torch.equal(content["weights"], torch.arange(5.0) + 3)
        path.write_bytes(whole)
    assert len(refusals) > len(whole) / 3
    assert all(str(path) in refusal and "\n" not in refusal for refusal in refusals)


def test_an_error_without_a_message_is_told_by_its_kind(run, monkeypatch):
    """Torch 2.11 raises one for some damaged files."""

    def load(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(ValueError, match=r"step_00000003.ckpt is not a readable checkpoint: RuntimeError: $"):
        read_checkpoint(checkpoints(run)[3])


def test_torch_overlooks_the_bit_that_we_see(run):
    """If this fails, torch checks its files itself, and we need not."""
    path = find_checkpoint(run)
    position = path.read_bytes().index(torch.tensor([4.0]).numpy().tobytes())
    flip(path, position + 3)  # in the exponent
    assert not torch.equal(torch.load(path, weights_only=True)["weights"], torch.arange(5.0) + 3)
    with pytest.raises(ValueError, match=r"step_00000003.ckpt is not a whole checkpoint: .* is not what was written"):
        read_checkpoint(path)


@pytest.mark.parametrize("damage", [cut, lambda path: flip(path, 200), lambda path: path.write_bytes(b"")])
def test_the_newest_whole_checkpoint_is_used(run, damage):
    damage(checkpoints(run)[3])
    damage(checkpoints(run)[2])
    with pytest.warns(UserWarning, match=r"passed over: .*step_0000000\d.ckpt is not a whole checkpoint") as warned:
        assert newest_checkpoint(run) == 1
    assert len(warned) == 2


def test_no_whole_checkpoint_is_an_error(run):
    for path in checkpoints(run).values():
        cut(path)
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(ValueError, match=r"checkpoints is whole: nothing to continue"),
    ):
        newest_checkpoint(run)


@pytest.fixture
def trained(tmp_path) -> Path:
    logger = RunLogger(str(tmp_path), "x")
    fit(small_gan(), 4, [Checkpoint(every_n_steps=2, keep=0)], logger=logger)
    return Path(logger.log_dir)


def test_load_passes_over_what_is_damaged(trained):
    images = gan.load(checkpoints(trained)[2]).sample(2)
    cut(checkpoints(trained)[4])
    with pytest.warns(UserWarning, match="passed over: .*step_00000004"):
        assert torch.equal(gan.load(trained).sample(2), images)
    with pytest.raises(ValueError, match=r"step_00000004.ckpt is not a whole checkpoint"):
        gan.load(checkpoints(trained)[4])


def test_the_trainer_refuses_a_damaged_file(trained):
    path = checkpoints(trained)[4]
    flip(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"step_00000004.ckpt is not a whole checkpoint"):
        fit(small_gan(), 5, ckpt_path=path)


def test_what_is_damaged_does_not_count_as_kept(trained, tmp_path):
    """The run goes on from step 2, beside a damaged step 4; with `keep=1` its own newest checkpoint must stay."""
    cut(checkpoints(trained)[4])
    logger = RunLogger(str(tmp_path), "x", trained, from_step=2)
    fit(small_gan(), 3, [Checkpoint(keep=1)], logger=logger, ckpt_path=checkpoints(trained)[2])
    assert sorted(checkpoints(trained)) == [3, 4]
    assert read_checkpoint(checkpoints(trained)[3])["global_step"] == 3


class FullDisk(Callback):
    """Makes files refuse to grow from a step on, as `ulimit -f` does."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 4:
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_is_named_and_costs_nothing_that_was_saved(tmp_path, capfd):
    """In a process of its own: the limit cannot be taken back."""

    def train():
        with pytest.raises(OSError, match=r"cannot be written: .* too large.*step_00000004.ckpt") as error:
            fit(small_gan(), 6, [FullDisk(), Checkpoint(every_n_steps=2)], logger=RunLogger(str(tmp_path), "x"))
        assert error.value.errno == errno.EFBIG

    assert forked(train) == 0, capfd.readouterr().err
    folder = tmp_path / "x" / "version_0" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step_00000000.ckpt", "step_00000002.ckpt"]
    assert read_checkpoint(folder / "step_00000002.ckpt")["global_step"] == 2


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of one megabyte; only root can mount one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_a_disk_that_is_really_full_or_read_only(tiny_disk):
    old, new = tiny_disk / "old.ckpt", tiny_disk / "new.ckpt"
    AtomicCheckpointIO().save_checkpoint({"gan": {}}, old)
    with pytest.raises(OSError, match=r"cannot be written: No space left on device: '.*new.ckpt'"):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(10**6)}, new)
    assert list(tiny_disk.iterdir()) == [old]
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    with pytest.raises(OSError, match=r"cannot be written: Read-only file system: '.*old.ckpt'"):
        AtomicCheckpointIO().save_checkpoint({"gan": {}}, old)
    assert read_checkpoint(old) == {"gan": {}}


def test_what_a_killed_writer_left_is_removed_when_the_run_goes_on(trained, tmp_path, monkeypatch):
    def killed_while_writing():
        monkeypatch.setattr(os, "fsync", lambda file: os.kill(os.getpid(), signal.SIGKILL))
        AtomicCheckpointIO().save_checkpoint({"gan": {}}, checkpoint_path(trained, 6))

    assert forked(killed_while_writing) == -signal.SIGKILL
    assert len(list((trained / "checkpoints").glob(".*.tmp"))) == 1
    assert sorted(checkpoints(trained)) == [0, 2, 4]
    elsewhere = [trained / ".config.yaml.17.tmp", trained / "samples" / ".step_00000004.png.17.tmp"]
    for path in elsewhere:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    logger = RunLogger(str(tmp_path), "x", trained, from_step=4)
    fit(small_gan(), 5, [Checkpoint(keep=0)], logger=logger, ckpt_path=find_checkpoint(trained))
    assert sorted(path.name[:13] for path in (trained / "checkpoints").iterdir()) == [
        f"step_0000000{step}" for step in (0, 2, 4, 5)
    ]
    assert not any(path.exists() for path in elsewhere)
