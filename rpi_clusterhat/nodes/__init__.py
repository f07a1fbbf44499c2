"""A node as a computer."""
