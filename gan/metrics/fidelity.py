"""torch-fidelity's other feature networks."""

import torch
from torch import Tensor, nn

from gan.metrics.features import FeatureNetwork


class TorchFidelity(FeatureNetwork):
    """A feature network by torch-fidelity's name for it: vgg16, clip-vit-b-32, dinov2-vit-b-14, ...

    Values are named after it, with underscores. The weights are loaded when the first images arrive. torch-fidelity
    downloads them: from torchvision, OpenAI, or for DINOv2 by `torch.hub`, which runs that repository's code.

    Args:
        extractor: Its name.
        weights_path: File of the weights; None: downloaded. It is unpickled, so use trusted files only.
    """

    resize = "torch-fidelity's, bilinear as in TensorFlow 1"

    def __init__(self, extractor: str, weights_path: str | None = None) -> None:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        super().__init__()
        known = sorted(name for name in FEATURE_EXTRACTORS_REGISTRY if "inception" not in name)
        if extractor not in known:
            raise ValueError(f"extractor must be one of {', '.join(known)} (or use InceptionV3), got {extractor!r}")
        self.extractor = extractor
        self.name = extractor.replace("-", "_")
        self.weights_path = weights_path
        self._make = FEATURE_EXTRACTORS_REGISTRY[extractor]
        self.network: nn.Module | None = None

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Map uint8 images (N, 1 or 3, H, W) to features (N, D).

        Raises:
            FileNotFoundError: The weights are missing or cannot be loaded.
        """
        if self.network is None:
            self.network = self._load().to(images.device)
        (features,) = self.network(images.expand(-1, 3, -1, -1))
        return features, None

    def _load(self) -> nn.Module:
        layer = self._make.get_default_feature_layer_for_metric("fid")
        try:
            with torch.random.fork_rng(devices=[]):  # the constructor draws weights before it loads them
                network = self._make(self.extractor, [layer], feature_extractor_weights_path=self.weights_path)
        except Exception as error:  # of the network, of files, of torch.hub, ...
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            place = f"weights_path {self.weights_path}" if self.weights_path else "torch-fidelity"
            raise FileNotFoundError(f"{self.extractor} could not be loaded from {place} ({reason})") from error
        frozen: nn.Module = network.eval().requires_grad_(False)
        return frozen
