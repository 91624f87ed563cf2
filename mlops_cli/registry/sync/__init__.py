"""The exchange with a team's remote: push, pull, fast-forward, rebase; all of it or nothing."""
