"""A demonstration on one machine: a legacy backend, real clients and a live table around a real proxy process."""
