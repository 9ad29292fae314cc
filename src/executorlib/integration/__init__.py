"""What the executors know about single libraries, one module for each, imported when a call of that library arrives."""
