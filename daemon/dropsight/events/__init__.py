"""A pure state machine: from what records say to events, confirmed and told once."""
