"""What happens to a model after its registration stage."""
