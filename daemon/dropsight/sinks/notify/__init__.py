"""Telling people of events through Apprise: each target is a follower of the journal with an outbox."""
