"""Bringing two histories together: three-way merges by cell, and what is built on them."""
