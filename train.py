"""The command line of a checkout: `python train.py fit ...` is `gan fit ...`."""

from gan.cli.main import main

if __name__ == "__main__":
    main()
