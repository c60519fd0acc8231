"""Customer.io's sizes and times, each with its source.

Whether its KB is 1000 or 1024 bytes nobody confirms: we take 1000.
"""

OPERATION_MAX_BYTES = 31_999
"""A v2 operation, alone or in a batch: "less than 32 KB" (Track API description, August 2026)."""

BATCH_MAX_BYTES = 499_999
"""A v2 batch request, brackets and commas included: "less than 500 KB" (the same)."""

EVENT_DATA_MAX_BYTES = 100_000
"""An event's data on v1 (Customer.io's limits page, 2026)."""

V1_REQUEST_MAX_BYTES = 500_000
"""Any other v1 request. Our own bound: 300 attributes of 1,150 bytes, the documented most, make 345,000."""

CAMPAIGN_AGE_MAX_S = 259_200.0
"""Campaigns start only for events dated within the last 72 hours; older ones are recorded and counted in segments
(Customer.io's documentation, 2026)."""
