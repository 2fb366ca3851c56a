"""Sockets and TLS: listening, dialling, and moving bytes."""
