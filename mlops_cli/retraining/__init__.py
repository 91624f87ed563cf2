"""From a monitoring report to a new version: trigger, retraining, recovery, the watch loop."""
