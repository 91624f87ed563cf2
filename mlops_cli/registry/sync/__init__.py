"""Synchronisation with a team's remotes: push, pull, fast-forward and rebase, all or nothing."""
