"""How a number was made: without it, no two numbers can be compared."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Protocol:
    """Everything that the value of a metric depends on beside the images.

    Attributes:
        features: Name of the feature network.
        weights: Hash of its weights.
        resize: What it does to the images' size.
        precision: In what it computes.
        reference: Name and split of the reference images.
        reference_images: Their number.
        reference_hash: Hash of their content.
        samples: Number of generated images.
        generator: Whose weights: "ema" or "raw".
        normalization: Which statistics the generator's normalizations use.
        seed: Seed of the samples.
    """

    features: str
    weights: str
    resize: str
    precision: str
    reference: str
    reference_images: int
    reference_hash: str
    samples: int
    generator: str
    normalization: str
    seed: int

    def __str__(self) -> str:
        return "protocol: " + ", ".join(f"{name} {value}" for name, value in asdict(self).items())
