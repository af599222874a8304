"""Training on pinned versions: pins, loaders and their receipts, runs and what they read, what is
traced from them or done again, leaks."""
