"""The sessions: where they are, and how they are ended."""
