"""Halting a node before its power is cut: ways to ask it, signs that it is down, and the order of things."""
