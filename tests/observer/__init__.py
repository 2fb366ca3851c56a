"""An independent observer of both legs, and its counts beside those of the proxy."""
