"""Runs done again, with their code and data, and what then comes of it."""
