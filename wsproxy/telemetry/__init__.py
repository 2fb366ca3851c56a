"""What the proxy tells about itself: counters, Prometheus text, log lines, read-only pages."""
