"""Runs on the disk: folder, checkpoints, records and description."""
