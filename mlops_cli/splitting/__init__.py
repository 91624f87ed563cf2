"""Which rows are for training, validation and test, and the folds within them."""
