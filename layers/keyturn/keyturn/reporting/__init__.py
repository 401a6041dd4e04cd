"""The report: the record of a run, messages to people, and metrics."""
