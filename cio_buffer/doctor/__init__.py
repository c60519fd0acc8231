"""Looks at a store's file, and at what it stands on, from outside: nothing of a running daemon is opened or changed.

What was measured is judged by rules that are pure functions of it.
"""
