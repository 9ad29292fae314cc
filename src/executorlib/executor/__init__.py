"""The executors, one file for each kind of machine they run on."""
