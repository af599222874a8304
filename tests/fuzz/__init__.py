"""Hostile input: every parser of stored bytes, and names, in the hands of who means harm."""
