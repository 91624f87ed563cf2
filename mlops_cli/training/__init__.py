"""The search for a model's settings and the fit of the candidate: stages tune and train."""
