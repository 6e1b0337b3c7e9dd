"""The Inception network that FID and inception score are defined with: torch-fidelity's port from TensorFlow."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan.metrics.features import FeatureNetwork

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


class InceptionV3(FeatureNetwork):
    """torch-fidelity's inception-v3-compat: TensorFlow 1's resize to 299x299, pooled features and logits without bias.

    The weights (91 MB) are loaded when the first images arrive. They are downloaded once, to where torch-fidelity keeps
    them. With other weights than the papers' the name is `inception_custom`.

    Args:
        weights_path: File of the weights; None: downloaded.
    """

    name = "inception"
    resize = "bilinear as in TensorFlow 1 to 299x299"

    def __init__(self, weights_path: str | None = None) -> None:
        super().__init__()
        self.weights_path = weights_path
        self.weights_hash: str | None = None  # of the file: the folded weights may differ in their last bits elsewhere
        self.network: nn.Module | None = None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images (N, 1 or 3, H, W) to features (N, 2048) and logits (N, 1008).

        Raises:
            FileNotFoundError: The weights are missing and cannot be downloaded.
            ValueError: The file does not hold this network's weights.
        """
        if self.network is None:
            path = _existing(self.weights_path) if self.weights_path else _downloaded()
            self.weights_hash = hashlib.sha256(path.read_bytes()).hexdigest()
            if self.weights_hash != SHA256:
                self.name = "inception_custom"
            self.network = _faster(_load(path)).to(images.device)
        features, logits = self.network(images.expand(-1, 3, -1, -1))
        return features, logits


def _load(path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity itself would unpickle anything
        with torch.random.fork_rng(devices=[]):  # its constructor draws weights before it loads them
            return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], str(path))
    except Exception as error:  # each way of being broken raises something else
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"weights_path: {path} does not hold torch-fidelity's Inception ({reason})") from error


def _faster(network: nn.Module) -> nn.Module:
    """Fold batch norms into the convolutions and use channels_last: 2.5 times as fast on a CPU.

    The output is equal up to rounding (features differ by 2e-7 of their norm).
    """
    for block in network.modules():
        convolution, norm = getattr(block, "conv", None), getattr(block, "bn", None)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block.conv, block.bn = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return network.to(memory_format=torch.channels_last)


def _existing(path: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"weights_path: there is no file {file}; Inception's weights are at {URL}")
    return file


def _downloaded() -> Path:
    file = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(file), SHA256)
        except (OSError, RuntimeError) as error:  # no network, no space, a download cut short
            raise FileNotFoundError(
                f"{file} is missing and {URL} could not be fetched ({error}): put it there by hand, give its path as "
                "weights_path (gan score: --weights), or choose other metrics (configs/metrics/digits.yaml, "
                "configs/metrics/none.yaml)"
            ) from error
    return file
