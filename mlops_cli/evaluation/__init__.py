"""What a fitted model does on unseen rows: metrics, slices, errors, explanations."""
