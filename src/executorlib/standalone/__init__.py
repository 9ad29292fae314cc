"""Parts that work without an executor, under the names that other packages import them by."""
