"""Schedulers, under the names that other packages import."""
