"""Commands: they read options, call one function, and draw what comes back."""
