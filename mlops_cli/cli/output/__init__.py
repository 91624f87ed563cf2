"""What the commands print: the console, progress, tables of comparisons, a gate's decision."""
