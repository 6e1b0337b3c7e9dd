"""All that is to be known of this code on one GPU, in a few minutes: `python -m benchmarks.gpu --out FOLDER`."""
