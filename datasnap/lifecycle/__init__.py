"""What becomes of data over the years: garbage, what is let go, what is erased, what it costs."""
