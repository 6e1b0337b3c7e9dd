import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_trainings import small_gan

from gan.images import tile
from gan.sampling.animation import check_film, write_film
from gan.sampling.selection import Selection, parse_labels, parse_numbers
from gan.sampling.walks import closed_walk, images_of, interpolations


def test_a_row_leads_from_one_sample_to_the_next():
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).double()
    ways = interpolations(z, columns=5)
    assert ways.shape == (3, 5, 8)
    torch.testing.assert_close(ways[:, 0], z[:3])
    torch.testing.assert_close(ways[:, -1], z[1:])
    torch.testing.assert_close(ways[:, 2], (z[:3] + z[1:]) / math.sqrt(2))


def test_a_walk_passes_its_keys_and_comes_back():
    z = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0)).double()
    walk = closed_walk(z, frames=12)
    assert walk.shape == (12, 2, 8)
    torch.testing.assert_close(walk[::4], z)
    torch.testing.assert_close(walk[2], (z[0] + z[1]) / math.sqrt(2))
    torch.testing.assert_close(walk[10], (z[2] + z[0]) / math.sqrt(2))
    steps = (walk - walk.roll(1, 0)).flatten(1).norm(dim=1)
    assert steps.max() < 1.01 * (2 * math.sin(math.pi / 16)) * (z.flatten(1).norm(dim=1).max() * math.sqrt(2))


def test_an_image_does_not_depend_on_how_many_are_made(monkeypatch):
    """Kernels may round differently in a batch of another size. Here a pixel is the size of the batch."""
    module = small_gan()
    monkeypatch.setattr(module, "generate", lambda z, y: torch.full((len(z), 1, 32, 32), len(z) / 127.5 - 1))
    for count in (3, 70):
        images = images_of(module, torch.zeros(count, 8), torch.zeros(count, dtype=torch.long))
        assert images.shape == (count, 1, 32, 32)
        assert (images == 64).all()


def test_a_seed_is_the_first_sample_of_its_stream():
    module = small_gan()
    z, y = Selection([5, 2], None).inputs(module.generator)
    images = images_of(module, z, y).int()
    alone = torch.cat([module.sample(1, seed=5), module.sample(1, seed=2)]).int()
    assert (images - alone).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_film_has_its_frames(tmp_path, suffix, channels):
    frames = (torch.arange(5).view(5, 1, 1, 1) * 50).expand(5, channels, 8, 12).to(torch.uint8)
    write_film(tmp_path / f"walk{suffix}", frames, fps=20)
    with Image.open(tmp_path / f"walk{suffix}") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (5, (12, 8), 0)
        for number in range(5):
            film.seek(number)
            assert abs(film.convert("L").getpixel((5, 5)) - 50 * number) <= 2
        film.load()
        assert film.info["duration"] == 50
    assert [path.name for path in tmp_path.iterdir()] == [f"walk{suffix}"]


def test_an_mp4_has_its_frames(tmp_path):
    reader = pytest.importorskip("imageio_ffmpeg")
    frames = (torch.arange(6).view(6, 1, 1, 1) * 40).expand(6, 1, 31, 45).to(torch.uint8)
    write_film(tmp_path / "walk.mp4", frames, fps=24)
    meta, *images = reader.read_frames(str(tmp_path / "walk.mp4"))
    assert (meta["size"], meta["fps"], len(images)) == ((46, 32), 24.0, 6)
    assert abs(images[3][3 * 46 * 10] - 120) <= 8
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]


def test_films_that_cannot_be_made_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"a walk is written to a \.gif, \.webp, \.mp4 file, got walk\.avi"):
        check_film(Path("walk.avi"))
    monkeypatch.setattr("gan.sampling.animation.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install imageio-ffmpeg"):
        check_film(Path("walk.mp4"))


def test_numbers_and_labels():
    assert parse_numbers("0-3,7") == [0, 1, 2, 3, 7]
    for wrong in "x", "3-", "-1", "5-3", "":
        with pytest.raises(ValueError, match=r"expected numbers|means no number"):
            parse_numbers(wrong)
    assert parse_labels("all", 3, ()) == [0, 1, 2]
    assert parse_labels("dog,0", 2, ["cat", "dog"]) == [1, 0]
    with pytest.raises(ValueError, match=r"no class '2'; known are 0 to 1$"):
        parse_labels("2", 2, ())
    with pytest.raises(ValueError, match=r"no class 'cow'; known are cat, dog$"):
        parse_labels("cow", 2, ["cat", "dog"])


def test_tiles_lie_in_rows():
    picture = tile(torch.full((3, 1, 2, 2), 9, dtype=torch.uint8), columns=2)
    assert picture.shape == (1, 10, 10)
    assert picture.sum() == 3 * 4 * 9
    assert (picture[0, 2:4, 2:4] == 9).all()
    assert (picture[0, 6:8, 2:4] == 9).all()
