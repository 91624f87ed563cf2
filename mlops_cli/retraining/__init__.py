"""From a monitoring report to a new candidate: trigger, retraining, recovery, the watch loop."""
