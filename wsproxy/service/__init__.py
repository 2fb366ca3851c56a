"""Lifetimes: workers, sessions, tunnels, drain. The only layer that opens nurseries."""
