"""GuardDuty findings: the event, the policy, and the response."""
