"""What became of tables, rows and cells over the snapshots that lead to a version."""
