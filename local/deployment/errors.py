"""What goes wrong with a deployment."""


class DeploymentError(Exception):
    """The template cannot be deployed as it is; the message names the place and the reason."""
