"""Names of classes: in checkpoints, for samples, and compared where a training goes on."""

import pytest
import torch
from image_files import encode, write_folder
from small_trainings import fit, small_networks

import gan
from gan.callbacks import Checkpoint
from gan.data import Folder
from gan.losses import Hinge
from gan.module import GAN
from gan.norms import ConditionalBatch
from gan.runs.folder import checkpoint_path
from gan.runs.logger import RunLogger


def folder(root, *classes, images=4):
    files = {
        f"{name}/{number}.png": encode(torch.full((8, 8), 20 * number).byte().numpy())
        for name in classes
        for number in range(images)
    }
    return Folder(write_folder(root / "_".join((*classes, str(images))), files), 8, 1, batch_size=4)


def conditional(classes):
    return GAN(*small_networks("dcgan", 8, classes=classes), Hinge(), [ConditionalBatch()])


def train(module, data, root, steps=1, checkpoint=None):
    logger = RunLogger(str(root), "x")
    fit(module, steps, [Checkpoint()], data=data, logger=logger, ckpt_path=checkpoint)
    return checkpoint_path(root / "x" / logger.version, steps)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a conditional generator."""
    root = tmp_path_factory.mktemp("trained")
    return train(conditional(2), folder(root, "cat", "dog"), root / "runs")


def test_samples_by_name(trained):
    module = gan.load(trained)
    assert module.classes == ("cat", "dog")
    with torch.no_grad():  # one step has not told the classes apart
        for parameter in module.generator.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    one = module.sample(labels=["dog", "cat", "dog"])
    assert one.equal(module.sample(3, [1, 0, 1]))
    assert not one.equal(module.sample(3, [1, 1, 1]))
    assert module.sample(3, "dog").equal(module.sample(3, [1, 1, 1]))
    assert module.sample(labels="cat").equal(module.sample(1, [0]))
    assert module.sample(labels=torch.tensor([1, 0])).equal(module.sample(2, ["dog", "cat"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["cat", "horse"]}, "there is no class 'horse'; known are cat, dog$"),
        ({"labels": "horse"}, "there is no class 'horse'; known are cat, dog$"),
        ({"n": 3, "labels": ["cat"]}, r"labels must have the shape \(3,\), got \(1,\)"),
        ({}, "sample needs n, the number of samples, or labels, their classes"),
    ],
)
def test_samples_that_cannot_be(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        gan.load(trained).sample(**arguments)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("dog", "zebra"), "class 0 as 'cat': it is 'dog' now .classes were cat, dog; are dog, zebra.; --init_from"),
        (("bird", "cat", "dog"), "class 0 as 'cat': it is 'bird' now .classes were cat, dog; are bird, cat, dog."),
        (("cat", "dog", "zebra"), "class 2 as None: it is 'zebra' now"),
    ],
)
def test_networks_go_on_with_their_own_classes_alone(trained, tmp_path, classes, message):
    with pytest.raises(ValueError, match=message) as refused:
        train(conditional(len(classes)), folder(tmp_path, *classes), tmp_path / "runs", 2, trained)
    assert "\n" not in str(refused.value)


def test_another_set_of_images_is_said(trained, tmp_path, recwarn):
    same = folder(tmp_path, "cat", "dog")
    train(conditional(2), same, tmp_path / "same", 2, trained)
    assert "set of images" not in "".join(str(warning.message) for warning in recwarn)
    train(conditional(2), folder(tmp_path, "cat", "dog", images=5), tmp_path / "more", 2, trained)
    (said,) = [str(warning.message) for warning in recwarn if "set of images" in str(warning.message)]
    assert said.endswith("num_images was 8, is 10; the set of images has changed")


def test_networks_that_know_no_classes_go_on_with_any(tmp_path):
    data = folder(tmp_path, "cat", "dog")
    first = train(unconditional(), data, tmp_path / "runs")
    assert gan.load(first).classes == ("cat", "dog")
    second = train(unconditional(), folder(tmp_path, "cat", "zebra"), tmp_path / "runs", 2, first)
    assert gan.load(second).classes == ("cat", "zebra")


def unconditional():
    return GAN(*small_networks("dcgan", 8, classes=2), Hinge())


def test_a_checkpoint_of_an_earlier_version_goes_on(trained, tmp_path):
    old = torch.load(trained, weights_only=True)
    del old["gan"]["classes"]
    torch.save(old, tmp_path / "old.ckpt")
    assert gan.load(tmp_path / "old.ckpt").classes == ()
    new = train(conditional(2), folder(tmp_path, "cat", "dog"), tmp_path / "runs", 2, tmp_path / "old.ckpt")
    assert gan.load(new).classes == ("cat", "dog")


def test_networks_for_another_number_of_classes(tmp_path):
    with pytest.raises(ValueError, match="the generator is built for 3 classes, the data have 2"):
        train(conditional(3), folder(tmp_path, "cat", "dog"), tmp_path / "runs")
