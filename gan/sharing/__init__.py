"""Trained networks for others: files of one network, and models of the Hugging Face Hub."""
