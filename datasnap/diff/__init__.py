"""What differs between two versions: columns, then rows, found where manifests part ways."""
