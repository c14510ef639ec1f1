"""Somebody else's package: one part of each kind, written without touching mezzotint."""
