"""The validation: health and login endpoints, and the logs of the new pods."""
