"""Rows that a model is tested on and was trained on, too."""
