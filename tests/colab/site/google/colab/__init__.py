"""Stands for Colab's own package: importable, as it is there, and nothing more."""
