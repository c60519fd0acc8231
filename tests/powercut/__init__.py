"""Power cuts, by the hundred thousand: what the store wrote is recorded, the power fails at every point of it, and what
a disk may then hold is opened by the store's own code. `python -m tests.powercut` runs all of it.
"""
