"""How a value was computed. Without it, no two values can be compared."""

from dataclasses import asdict, dataclass
from importlib.metadata import version

_PACKAGES = "torch", "torch-fidelity", "numpy", "pillow"  # arithmetic, feature networks, noise, decoding of images


@dataclass(frozen=True)
class Protocol:
    """Everything that the value of a score depends on, besides the images.

    Attributes:
        scores: The scores and their settings.
        features: Name of the feature network.
        features_weights: Hash of its weights.
        resize: How it resizes images.
        reference: Name of the reference images, and the size that they and the scored images are made to fit.
        reference_images: Their number.
        reference_content: Hash of them.
        samples: Number of scored images.
        source: Where these come from: raw or averaged weights of the generator, or a folder or zip.
        seed: Seed of the samples' noise and labels; None for images of a folder or zip.
        normalization: Which statistics the generator's batch norms use.
        precision: Precision of the generator's and of the feature network's arithmetic.
        device: "cpu", or the name of the GPU.
        versions: Versions of the packages that the values depend on.
    """

    scores: str
    features: str
    features_weights: str
    resize: str
    reference: str
    reference_images: int
    reference_content: str
    samples: int
    source: str
    seed: int | None
    normalization: str
    precision: str
    device: str
    versions: str

    def __str__(self) -> str:
        return "protocol: " + "; ".join(f"{name} {value}" for name, value in self.fields().items())

    def fields(self) -> dict[str, str | int | None]:
        """Return all attributes by name."""
        return asdict(self)


def package_versions() -> str:
    """Return the versions of the packages that the values depend on."""
    return ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
