"""The run: one rotation on its way through the state machine, and its ledger."""
