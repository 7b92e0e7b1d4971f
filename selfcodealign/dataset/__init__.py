"""From verified responses to a published dataset."""
