"""Convolutional Normalization computed faster (page follows)."""
