"""The conversation, sans-I/O: opening handshake, frames, legs, plans, the relay."""
