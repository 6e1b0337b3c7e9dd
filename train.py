"""Train, validate and sample GANs: `python train.py fit --config configs/quickstart.yaml`, or `--help`."""

import gc

# What Lightning imports are 750,000 objects that stay to the end. Not to look through them again and again, while they
# are made, in training, and at the exit, saves two of six seconds.
gc.disable()
from gan.cli import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
