"""A lease on a node: which one, when it gets power, and when it loses it again."""
