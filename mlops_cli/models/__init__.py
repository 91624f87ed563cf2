"""A fitted model and what it needs to predict: encoder, labels, calibration, the bundle of all."""
