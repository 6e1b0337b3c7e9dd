"""Classifiers under corruption, attack, noisy labels and little data: the first half of the ConvNorm paper."""
