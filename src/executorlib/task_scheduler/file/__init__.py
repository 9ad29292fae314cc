"""Calls that travel in files."""
