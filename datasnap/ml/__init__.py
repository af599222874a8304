"""Training on pinned versions: runs and what they read, pins, loaders."""
