"""Who may promote what: signed approvals, and the rules of each stage."""
