"""Pure functions and classes: no files, no printing."""
