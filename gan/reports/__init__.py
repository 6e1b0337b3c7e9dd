"""Runs beside each other. What stands here reads the folders of runs, and needs no torch."""
