"""What rooms that speak HTTP share: how a body is read, what a connection knows, what answers look like."""
