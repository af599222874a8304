"""Tables: rows cut into segments, columns hashed into chunks, and both read back."""
