"""What people use: the command line, its live progress, the folder of results, the report."""
