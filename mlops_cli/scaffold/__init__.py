"""`mlops init`: infers types, task and column roles from a data file, and creates a project."""
