"""Parts for testing classifiers: networks, corruptions, attacks and wrong labels."""
