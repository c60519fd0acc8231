"""Keeps entries safe, and in order, until they are settled."""
