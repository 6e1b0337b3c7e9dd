"""ImageNet, and photographs in its layout."""

from gan.data import Folder
from gan.data.sources import Damaged
from robustness.crops import ResizedCrop


class ImageNet(Folder):
    """ImageNet (Russakovsky et al., IJCV 2015), or other photographs: train/<class>/* and val/<class>/*.

    Training sees a random part of each image, at every pass another one, and tests its centre: see
    `robustness.crops.ResizedCrop`. Images are always decoded by worker processes.

    Args:
        root: The folder or zip with `train` and `val`.
        image_size: Height and width of what the network sees.
        batch_size: Images of one step, all processes together.
        flip: Mirror images left to right at random.
        num_workers: Worker processes that decode, for each process of the training.
        damaged: What to do about images that cannot be read, see `gan.data.Folder`.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    def __init__(
        self,
        root: str = "imagenet",
        image_size: int = 224,
        batch_size: int = 256,
        flip: bool = True,
        num_workers: int = 8,
        damaged: Damaged = "error",
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        super().__init__(
            root,
            image_size,
            batch_size=batch_size,
            flip=flip,
            num_workers=num_workers,
            labels="folders",
            damaged=damaged,
            num_images=num_images,
            fraction=fraction,
            subset_seed=subset_seed,
        )
        self.frame = ResizedCrop(image_size, self.channels)
