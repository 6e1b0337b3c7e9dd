import os
import pickle
import select
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import encode, noise, write_folder, write_zip
from small_trainings import forked

from gan.data import loaders
from gan.data.decode import Frame
from gan.data.files import open_files
from gan.data.loaders import MemoryLoader, StreamLoader
from gan.data.order import Order
from gan.data.sources import FileSource

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")

ORDER = Order(num_images=10, batch_size=8, batches_per_step=2, seed=3, flip=True)


@pytest.fixture(params=[write_folder, write_zip])
def source(request, tmp_path):
    """Ten images of one size, in two classes."""
    files = {f"{name}.png": encode(noise(9, 12, 3, seed=ord(name))) for name in "abcdefghij"}
    root = request.param(tmp_path / "set", files)
    return FileSource(open_files(root), {name: index % 2 for index, name in enumerate(files)}, Frame(6, 3))


def memory(source, first_step=0, order=ORDER):
    return MemoryLoader(source.load(), source.labels, order, lambda: first_step)


def take(loader, steps):
    return list(islice(loader, steps))


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for batch, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(batch, other, strict=True))


def test_a_batch_is_what_the_order_says(source):
    (images, labels), *_ = take(memory(source, first_step=4), 1)
    assert images.shape == (2 * 8, 3, 6, 6)
    assert images.dtype == torch.uint8
    assert images.is_contiguous()
    for image, label, index, flip in zip(images, labels, *ORDER.batch(4), strict=True):
        expected = np.asarray(source[index])[..., ::-1] if flip else np.asarray(source[index])
        assert np.array_equal(image, expected)
        assert label == index % 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_streamed_batches_have_the_same_bits(source, num_workers):
    streamed = take(StreamLoader(source, ORDER, lambda: 3, num_workers), 6)
    assert_same(streamed, take(memory(source, first_step=3), 6))


@pytest.mark.parametrize("first_step", [1, 5, 9])  # 16 images a step: epochs of 10 end within and between updates
def test_to_start_at_a_step_is_to_skip_those_before(source, first_step):
    assert_same(take(memory(source, first_step), 4), take(memory(source), first_step + 4)[first_step:])


def test_the_step_is_asked_for_when_the_iteration_begins(source):
    step = 0
    loader = MemoryLoader(source.load(), source.labels, ORDER, lambda: step)
    step = 6
    assert_same(take(loader, 2), take(memory(source, 6), 2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_global_generator_is_left_alone(source, num_workers):
    before = torch.get_rng_state()
    take(StreamLoader(source, ORDER, lambda: 0, num_workers), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_source_can_be_sent_to_a_process(source):
    before = source[3]  # the zip is open
    assert torch.equal(pickle.loads(pickle.dumps(source))[3], before)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(tmp_path, num_workers):
    files = open_files(write_folder(tmp_path, {"a.png": encode(noise(6, 6, 3)), "b.png": b"nothing"}))
    pair = Order(num_images=2, batch_size=2, batches_per_step=1, seed=0, flip=False)
    loader = StreamLoader(FileSource(files, {"a.png": 0, "b.png": 0}, Frame(6, 3)), pair, lambda: 0, num_workers)
    with pytest.raises(ValueError, match=r"^'b.png' in '.*' is no image \(7 bytes\)$"):
        take(loader, 1)


def test_a_batch_is_its_reader_s_own(source):
    loader = memory(source)
    first = take(loader, 1)[0][0].clone()
    take(loader, 1)[0][0].zero_()
    assert torch.equal(take(loader, 1)[0][0], first)


def test_a_checkpoint_of_another_order_is_reported(source, recwarn):
    loader = memory(source)
    loader.load_state_dict(loader.state_dict())
    assert not recwarn
    other = memory(source, order=Order(num_images=10, batch_size=4, batches_per_step=2, seed=3, flip=True))
    with pytest.warns(UserWarning, match="not the checkpoint's: batch_size was 8, is 4"):
        other.load_state_dict(loader.state_dict())


class Tampered:
    """A source whose images from number 5 on cannot be had."""

    def __init__(self, source, fail):
        self.source, self.labels, self.fail = source, source.labels, fail
        self.damaged, self.say_damaged = source.damaged, source.say_damaged

    def __getitem__(self, index):
        return self.source[index] if index < 5 else self.fail()

    def at(self, seed, position):
        return self


def test_a_worker_that_dies_ends_the_iteration(source):
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        take(StreamLoader(Tampered(source, lambda: os._exit(1)), ORDER, lambda: 0, num_workers=2), 3)


def test_workers_that_stall_end_the_iteration(source, monkeypatch):
    monkeypatch.setattr(loaders, "SECONDS_BETWEEN_CHECKS", 1)
    monkeypatch.setattr(loaders, "SECONDS_UNTIL_STALLED", 0)
    with pytest.raises(RuntimeError, match="have sent no images for 0 s"):
        take(StreamLoader(Tampered(source, lambda: time.sleep(60)), ORDER, lambda: 0, num_workers=2), 3)


def test_a_slow_worker_is_waited_for(source, monkeypatch):
    monkeypatch.setattr(loaders, "SECONDS_BETWEEN_CHECKS", 0.2)

    def late():
        time.sleep(0.5)
        return source[0]

    batches = take(StreamLoader(Tampered(source, late), ORDER, lambda: 0, num_workers=2), 1)
    assert len(batches) == 1


def test_waiting_ends_when_asked_to(source, monkeypatch):
    monkeypatch.setattr(loaders, "SECONDS_BETWEEN_CHECKS", 0.2)
    stalled = Tampered(source, lambda: time.sleep(60))
    assert take(StreamLoader(stalled, ORDER, lambda: 0, num_workers=2, should_stop=lambda: True), 1) == []


def test_workers_end_with_a_killed_training(tmp_path):
    """With batches beyond a pipe's 64 KiB in it, which nobody will read any more."""
    root = write_folder(tmp_path / "set", {f"{i}.png": encode(noise(96, 96, 3, seed=i)) for i in range(10)})
    source = FileSource(open_files(root), {f"{i}.png": 0 for i in range(10)}, Frame(96, 3))
    alive, held = os.pipe()  # every process that comes from here holds its end

    def train():
        batches = iter(StreamLoader(source, ORDER, lambda: 0, num_workers=2))
        next(batches)
        time.sleep(1)  # until the workers have filled their pipes
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(train) == -signal.SIGKILL
    os.close(held)
    ready, _, _ = select.select([alive], [], [], 30)
    assert ready, "a worker lives on"
    assert os.read(alive, 1) == b""
    os.close(alive)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make a small /dev/shm")
def test_workers_need_no_shared_memory(tmp_path):
    """Docker gives a container 64 MB, which a few batches of large images exceed."""
    write_folder(tmp_path / "set", {f"{number}.png": encode(noise(512, 512, 3, seed=number)) for number in range(4)})
    script = tmp_path / "read.py"
    script.write_text(
        f"""
from itertools import islice
from gan.data.decode import Frame
from gan.data.files import open_files
from gan.data.loaders import StreamLoader
from gan.data.order import Order
from gan.data.sources import FileSource

files = open_files({str(tmp_path / "set")!r})
source = FileSource(files, dict.fromkeys(files.sizes, 0), Frame(512, 3))
order = Order(num_images=4, batch_size=16, batches_per_step=1, seed=0, flip=False)
print(len(list(islice(StreamLoader(source, order, lambda: 0, num_workers=2), 4))))
"""
    )
    mounted = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec {sys.executable} {script}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    made = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    if "unshare" in made.stderr or "mount:" in made.stderr:
        pytest.skip("no mounts are allowed here")
    assert made.stdout == "4\n", made.stderr
