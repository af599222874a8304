"""Loaders: rows of a pinned table, in an order that arithmetic gives; and their receipts."""
