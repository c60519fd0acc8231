"""How fast, how small, how soon: numbers, not tests. `python -m tests.bench --help`."""
