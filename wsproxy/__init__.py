"""wsproxy: a WebSocket reverse proxy that compresses each side on its own terms."""

__version__ = "0.1.0"
