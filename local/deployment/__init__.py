"""Deploys the unmodified `template.yaml`, nested stacks included, to the local stack.

AWS's own translator turns SAM into CloudFormation (`template`), parameters and intrinsic functions
are resolved here (`parameters`, `intrinsics`), and each resource is created through the API of the
local cloud (`resources` and the modules it lists), in the order of their dependencies.
"""

from local.deployment.deploy import Deployment, deploy
from local.deployment.errors import DeploymentError

__all__ = ["Deployment", "DeploymentError", "deploy"]
