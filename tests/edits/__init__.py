"""Edits of tables: every verb, against a plain model."""
