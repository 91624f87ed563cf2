"""A project's Git and DVC repository: locks, data objects, snapshots, the table of stages."""
