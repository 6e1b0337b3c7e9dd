"""The Inception of the FID's and the inception score's definition, as torch-fidelity converted it from TensorFlow."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.metrics.features import FeatureNetwork

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


class InceptionV3(FeatureNetwork):
    """torch-fidelity's inception-v3-compat: TensorFlow 1's resize to 299x299, pooled features and unbiased logits.

    The weights (91 MB) are read when the first images come, and downloaded once, to where torch-fidelity looks for
    them too. With other weights than the papers' it calls itself `inception_custom`.

    Args:
        weights_path: The weights' file, if it is already somewhere.
    """

    name = "inception"
    resize = "bilinear as in TensorFlow 1, to 299x299"

    def __init__(self, weights_path: str | None = None) -> None:
        super().__init__()
        self.weights_path = weights_path
        self.network: nn.Module | None = None

    def load(self) -> nn.Module:
        """Read the weights, downloading them if need be.

        Raises:
            FileNotFoundError: The weights are neither here nor to be had.
        """
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        path = existing_file(self.weights_path) if self.weights_path else downloaded_file()
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            self.name = "inception_custom"
        torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity would unpickle anything
        with torch.random.fork_rng(devices=[]):  # its constructor draws initial weights
            return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], str(path))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images (N, 1 or 3, H, W) to features (N, 2048) and logits without bias (N, 1008)."""
        if self.network is None:
            self.network = self.load().to(images.device)
        features, logits = self.network(images.expand(-1, 3, -1, -1))
        return features, logits


def existing_file(path: str) -> Path:
    """Return the path of a file that exists; else raise FileNotFoundError."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"weights_path: there is no file {file}; Inception's weights are at {URL}")
    return file


def downloaded_file() -> Path:
    """Return the weights' file in torch.hub's cache, after fetching it if it is missing."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(file), SHA256)
        except (OSError, RuntimeError) as error:  # no network, no space, a file cut short
            raise FileNotFoundError(
                f"{file} is missing and {URL} could not be fetched ({error}): put it there by hand, give its path as "
                "weights_path, or choose other metrics (configs/metrics/digits.yaml, configs/metrics/none.yaml)"
            ) from error
    return file
