"""What `mlops init` makes of a data file: types, task, roles of columns, a whole project."""
