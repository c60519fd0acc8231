"""What the whole daemon does when its process, its disk or its memory fails: `python -m tests.faults` tries it."""
