"""TOML, environment and flags, read once into one frozen, typed tree."""
