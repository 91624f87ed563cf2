"""Judging what a model has predicted in a window of time: pure, whoever gives the rows."""
