"""Pins: configs that name a snapshot and a table, and what they are read as."""
