import threading

import pytest
import torch
from small_trainings import forked, limit_files

from gan.metrics import reference
from gan.metrics.frechet import Gaussian
from gan.metrics.inception_score import ClassMarginals

CPU = torch.device("cpu")
SUMS = {"count": torch.tensor(3.0, dtype=torch.float64), "outer": torch.arange(4e4, dtype=torch.float64).view(200, 200)}


def test_what_is_saved_is_loaded(cache):
    file = reference.cache_file("digits", Gaussian())
    assert reference.load(file, CPU) is None
    reference.save(file, SUMS)
    loaded = reference.load(file, CPU)
    assert loaded.keys() == SUMS.keys()
    assert all(torch.equal(loaded[name], SUMS[name]) for name in SUMS)
    assert [path.name for path in cache.iterdir()] == [file.name]


def test_files_differ_with_any_part_of_the_key():
    files = {reference.cache_file("digits", "ab", ClassMarginals(splits)) for splits in (5, 10)}
    files |= {reference.cache_file("digits", "ab", Gaussian()), reference.cache_file("digits", "cd", Gaussian())}
    assert len(files) == 4


def test_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CONVNORM_GAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert reference.cache_folder() == tmp_path / "convnorm-gan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert reference.cache_folder() == tmp_path / ".cache" / "convnorm-gan"


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda _: b"", lambda _: b"no tensors"])
def test_a_damaged_file_is_not_used_and_said_so(damage):
    file = reference.cache_file("x")
    reference.save(file, SUMS)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match=f"{file} are damaged .* computed again"):
        assert reference.load(file, CPU) is None


def test_a_file_of_something_else_is_damaged():
    file = reference.cache_file("x")
    file.parent.mkdir()
    torch.save([1, 2], file)
    with pytest.warns(UserWarning, match="damaged"):
        assert reference.load(file, CPU) is None


def test_a_reader_never_sees_half_a_file():
    file = reference.cache_file("x")
    reference.save(file, SUMS)
    writers = [threading.Thread(target=lambda: [reference.save(file, SUMS) for _ in range(10)]) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert reference.load(file, CPU) is not None
    assert len(list(file.parent.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_only_warned_of(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CONVNORM_GAN_CACHE", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match="are not kept: "):
        reference.save(reference.cache_file("x"), SUMS)


def test_a_full_disk_is_only_warned_of_and_leaves_nothing(capfd):
    """In a process of its own: the limit cannot be taken back."""

    def save():
        limit_files(20_000)
        with pytest.warns(UserWarning, match="are not kept: .*File too large"):
            reference.save(reference.cache_file("x"), SUMS)

    assert forked(save) == 0, capfd.readouterr().err
    assert not list(reference.cache_folder().iterdir())
