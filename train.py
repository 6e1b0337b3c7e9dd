"""Train, validate and sample GANs: `python train.py fit --config configs/quickstart.yaml`, or `--help`."""

from gan.cli import main

if __name__ == "__main__":
    main()
