"""Customer.io's sizes, each with its source. Whether its KB is 1000 or 1024 bytes nobody confirms: we take 1000."""

OPERATION_MAX_BYTES = 31_999
"""A v2 operation, alone or in a batch: "less than 32 KB" (Track API description, August 2026)."""

BATCH_MAX_BYTES = 499_999
"""A v2 batch request, brackets and commas included: "less than 500 KB" (the same)."""

EVENT_DATA_MAX_BYTES = 100_000
"""An event's data on v1 (Customer.io's limits page, 2026)."""

V1_REQUEST_MAX_BYTES = 500_000
"""Any other v1 request. Our own bound: 300 attributes of 1,150 bytes, the documented most, make 345,000."""
