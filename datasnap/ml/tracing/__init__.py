"""From a model to its data, from a row to its models, and what differs between two runs."""
