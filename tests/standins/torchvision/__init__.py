"""A stand-in for torchvision 0.29.2."""
