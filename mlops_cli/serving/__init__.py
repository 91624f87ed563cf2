"""A bundle that answers: as a service, for files of rows, and packed for delivery."""
