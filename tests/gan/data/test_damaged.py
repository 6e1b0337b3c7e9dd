"""Images that cannot be read: named, or replaced by others in a way that only the files decide."""

import warnings
from itertools import islice

import pytest
import torch
from image_files import encode, noise, write_folder, write_zip

from gan.data import Folder, image_data
from gan.data.decode import DamagedError
from gan.data.loaders import StreamLoader
from gan.data.order import Order

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
# Of class a the second and last are damaged, of class b the first
CONTENT = {
    "a/0": 0, "a/1": None, "a/2": 2, "a/3": None,
    "b/0": None, "b/1": None, "b/2": 6,
}  # fmt: skip
STAND_INS = [0, 2, 2, 0, 6, 6, 6]


def write(path, content=CONTENT, write=write_folder):
    files = {
        f"{name}.png": b"?" if gray is None else encode(torch.full((4, 4), gray).byte().numpy())
        for name, gray in content.items()
    }
    return write(path, files)


@pytest.fixture(params=["memory", "streamed"])
def where(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr(image_data, "MAX_ENCODED_BYTES", 0)
    return request.param


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("write_set", [write_folder, write_zip])
def test_the_next_image_of_the_class_takes_the_place(tmp_path, write_set):
    data = Folder(write(tmp_path / "set.zip", write=write_set), 4, 1, damaged="skip", num_workers=0)
    with pytest.warns(UserWarning, match=r"damaged, others take their place \(4 so far\): 'a/1.png' is no image"):
        images = torch.cat(list(data.reference("train")))
    assert images[:, 0, 0, 0].tolist() == STAND_INS
    assert data.labels("train").tolist() == [0] * 4 + [1] * 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_does_not_depend_on_what_was_read_before(tmp_path, num_workers):
    source = Folder(write(tmp_path), 4, 1, damaged="skip").source("train")
    order = Order(num_images=7, batch_size=3, batches_per_step=1, seed=0, flip=False)

    def batches(first, steps):
        fresh = source.select(torch.arange(7))
        with pytest.warns(UserWarning, match="damaged, others take their place"):
            return [
                images[:, 0, 0, 0].tolist()
                for images, _ in islice(StreamLoader(fresh, order, lambda: first, num_workers), steps)
            ]

    whole = batches(0, 9)
    assert whole == [[STAND_INS[index] for index in order.batch(step)[0]] for step in range(9)]
    for first in range(1, 7):
        assert batches(first, 3) == whole[first : first + 3]


def test_each_is_named_once(tmp_path, recwarn):
    source = Folder(write(tmp_path), 4, 1, damaged="skip").source("train")
    for _ in range(2):
        source.load()
    assert len([warning for warning in recwarn if "damaged" in str(warning.message)]) == 1


@pytest.mark.usefixtures("where")
def test_a_class_of_damaged_images_alone_is_an_error(tmp_path):
    data = Folder(write(tmp_path, {"a/0": None, "b/0": 1}), 4, 1, damaged="skip", num_workers=0)
    warnings.simplefilter("ignore")
    with pytest.raises(ValueError, match=r"no image of class 0 in '.*' can be read"):
        list(data.reference("train"))


def test_the_content_hash_of_a_streamed_set_with_damaged_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(image_data, "MAX_ENCODED_BYTES", 0)
    path = tmp_path / "set.zip"
    content = path_of_zip_with_bad_crc(path)
    with pytest.raises(DamagedError, match=r"'a.png' in '.*' cannot be read: Bad CRC-32"):
        Folder(content, 4).content_hash("train")
    assert len(Folder(content, 4, damaged="skip").content_hash("train")) == 64


def path_of_zip_with_bad_crc(path):
    good, bad = encode(noise(4, 4, 3, seed=1)), encode(noise(4, 4, 3, seed=2))
    root = write_zip(path, {"a.png": bad, "b.png": good})
    data = path.read_bytes()
    at = data.index(bad) + 60
    path.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    return root


def test_a_file_that_is_gone_is_no_damage(tmp_path, monkeypatch):
    """It may be back, and the results would depend on when it was read."""
    monkeypatch.setattr(image_data, "MAX_ENCODED_BYTES", 0)
    data = Folder(write(tmp_path), 4, 1, damaged="skip", num_workers=0)
    (tmp_path / "a/0.png").unlink()
    with pytest.raises(ValueError, match=r"'a/0.png' in '.*' cannot be read: No such file"):
        list(data.reference("train"))
