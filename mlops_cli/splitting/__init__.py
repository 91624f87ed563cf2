"""Split of the rows into train, validation and test, and the folds within them."""
