"""Output of the commands: console, progress, comparison tables and the gates' decision."""
