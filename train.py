"""Train, validate and sample GANs: `python train.py fit --config configs/quickstart.yaml`, or `--help`."""

import gc
import signal

# What Lightning imports are 750,000 objects that stay to the end. Not to look through them again and again, while they
# are made, in training, and at the exit, saves two of six seconds.
gc.disable()
# Until there is something to finish, Ctrl-C ends the process as it is: not in a traceback through those imports.
interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
from gan.cli.entry import main  # noqa: E402

signal.signal(signal.SIGINT, interrupt)
gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
