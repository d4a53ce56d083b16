"""The algorithms, one file each; each has a function of its hyperparameters that makes it."""
