"""The textbook: one finding, one file."""
