"""A version as a Bento: built, containerized, and described for where it is deployed."""
