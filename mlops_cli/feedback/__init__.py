"""Label feedback: import of labels from files and the base source, and erasure of events."""
