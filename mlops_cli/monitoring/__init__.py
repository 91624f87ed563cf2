"""Monitoring over the event log: windows, verdicts, reports and alerts."""
