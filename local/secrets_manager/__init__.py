"""AWS Secrets Manager on a laptop, strict where rotation is concerned.

`api` is the entrance. The rules are pure: `labels`, `cron`, `schedule`, and the decisions in
`rotation_run`. `store` holds the secrets, `rotation` and `timetable` are the threads that work,
`*_operations` translate between AWS's shapes and those.
"""

from local.secrets_manager.api import SecretsManager
from local.secrets_manager.errors import AwsError
from local.secrets_manager.rotation_run import (
    FunctionOutcome,
    RotationReport,
    StepListener,
    StepRun,
)

__all__ = [
    "AwsError",
    "FunctionOutcome",
    "RotationReport",
    "SecretsManager",
    "StepListener",
    "StepRun",
]
