"""Decides what leaves, how fast, and what a reply means."""
