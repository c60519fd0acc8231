"""Speaks Customer.io's HTTP APIs."""
