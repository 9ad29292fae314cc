"""Talking to worker processes, under the names that other packages import."""
