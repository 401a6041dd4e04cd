"""The rollout: services are restarted, and judged by their pods."""
