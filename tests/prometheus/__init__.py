"""A real Prometheus, and what is shipped for it."""
