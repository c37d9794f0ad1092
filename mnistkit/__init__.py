"""mnistkit: the networks, the training loop and the records of an MNIST course."""

__version__ = "0.1.0"
