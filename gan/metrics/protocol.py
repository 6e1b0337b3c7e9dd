"""How a number was made. Without it, no two numbers can be compared."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Protocol:
    """Everything beside the images that the value of a metric depends on.

    Attributes:
        features: Name of the feature network.
        weights: Hash of its weights.
        resize: What it does to the images' size.
        reference: Name and split of the reference images.
        reference_images: Their number.
        reference_content: Hash of them.
        samples: Number of scored images.
        source: Where they come from: whose weights of the generator and which seed, or a folder or zip.
        normalization: Which statistics the generator's batch norms use.
        precision: Of the generator's and the feature network's arithmetic, unless the network's name says otherwise.
    """

    features: str
    weights: str
    resize: str
    reference: str
    reference_images: int
    reference_content: str
    samples: int
    source: str
    normalization: str
    precision: str = "float32"

    def __str__(self) -> str:
        return "protocol: " + "; ".join(f"{name} {value}" for name, value in asdict(self).items())
