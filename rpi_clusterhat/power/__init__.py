"""A node as a switch: its states, the plans that change them, and the rail that spaces power-ups."""
