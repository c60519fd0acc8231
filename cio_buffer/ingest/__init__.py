"""Takes operations in, and answers 200 once they are on disk."""
