"""Labels that come later: from files, from the base source, and their erasure."""
