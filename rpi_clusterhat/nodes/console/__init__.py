"""A node's serial console: opened, shared between programs, and shown on a terminal."""
