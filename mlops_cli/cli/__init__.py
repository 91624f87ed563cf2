"""The command line: each command reads options, calls one function and prints the result."""
