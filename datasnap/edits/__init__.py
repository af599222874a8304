"""The verbs of a transaction: of rows, then of columns, over one unit of work."""
