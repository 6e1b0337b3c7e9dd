import pickle
from urllib.error import URLError

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gan.metrics import BFloat16, InceptionV3, inception
from gan.metrics.features import weights_hash_of

IMAGES = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class RandomInception(FeatureExtractorInceptionV3):
    """torch-fidelity's network before it loads weights."""

    def load_state_dict(self, *args, **kwargs):
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file of random weights, with the batch statistics that keep images apart through 90 layers."""
    empty = tmp_path_factory.mktemp("weights") / "empty.pt"
    torch.save({}, empty)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RandomInception("random", ["2048"], str(empty)).train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network(IMAGES)
    path = empty.with_name("inception.pth")
    torch.save(network.state_dict(), path)
    return path


def in_float64(network):
    network.feature_extractor_internal_dtype = torch.float64
    return network.double()


def deviation(outputs, exact):
    pairs = zip(outputs, exact, strict=True)
    return [((ours - theirs).norm() / (theirs - theirs.mean(0)).norm()).item() for ours, theirs in pairs]


def test_equals_torch_fidelity(weights):
    ours = InceptionV3(str(weights)).eval()
    theirs = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], str(weights))
    rounded = ours(IMAGES), theirs(IMAGES)
    in_float64(ours.network)
    exact = in_float64(theirs)(IMAGES)
    assert max(deviation(ours(IMAGES), exact)) < 1e-4  # the folded weights were rounded to float32
    # In float32, folding must not make the rounding worse, which random weights amplify to 5e-4
    for mine, reference in zip(deviation(rounded[0], exact), deviation(rounded[1], exact), strict=True):
        assert mine < 2 * reference


def test_gray_is_repeated(weights):
    network = InceptionV3(str(weights)).eval()
    gray = IMAGES[:, :1]
    torch.testing.assert_close(network(gray)[0], network(gray.repeat(1, 3, 1, 1))[0])


def test_other_weights_than_the_papers_have_another_name(weights, monkeypatch):
    network = InceptionV3(str(weights))
    assert network.name == "inception"
    network(IMAGES[:1])
    assert network.name == "inception_custom"
    monkeypatch.setattr(inception, "SHA256", inception.hashlib.sha256(weights.read_bytes()).hexdigest())
    network = InceptionV3(str(weights))
    network(IMAGES[:1])
    assert network.name == "inception"


def test_the_hash_of_the_weights_is_their_file_s(weights):
    network = BFloat16(InceptionV3(str(weights)))
    network(IMAGES[:1])
    assert weights_hash_of(network) == inception.hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def test_loading_draws_no_random_number(weights):
    state = torch.get_rng_state()
    InceptionV3(str(weights))(IMAGES[:1])
    assert torch.equal(torch.get_rng_state(), state)


def test_is_built_without_weights_so_that_a_config_can_be_read_anywhere():
    assert not InceptionV3("nowhere.pth").state_dict()


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"weights_path: there is no file nowhere\.pth; .* at https://"):
        InceptionV3("nowhere.pth")(IMAGES)


def test_weights_that_cannot_be_had_are_explained_in_one_line(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError) as raised:
        InceptionV3()(IMAGES)
    message = str(raised.value)
    for part in (f"{tmp_path}/checkpoints/{inception.WEIGHTS}", inception.URL, "no network", "weights_path", "digits"):
        assert part in message
    assert "\n" not in message


def test_weights_are_downloaded_once_and_checked(weights, monkeypatch, tmp_path):
    calls = []

    def download(url, destination, sha256):
        calls.append((url, sha256))
        with open(destination, "wb") as file:
            file.write(weights.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    InceptionV3()(IMAGES[:1])
    InceptionV3()(IMAGES[:1])
    assert calls == [(inception.URL, inception.SHA256)]


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_file_of_anything_else_is_refused_and_not_executed(tmp_path):
    victim = tmp_path / "victim"
    for name, content in (("pickle", pickle.dumps(Touch(str(victim)), protocol=2)), ("text", b"no weights")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} does not hold torch-fidelity's Inception"):
            InceptionV3(str(path))(IMAGES)
    assert not victim.exists()
