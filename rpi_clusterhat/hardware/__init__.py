"""The boards, the backends that drive their lines, and what is shared with other programs."""
