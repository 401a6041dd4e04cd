"""What a person deploys with: a file of parameters for each environment, and two commands.

`default.yaml`, `staging.yaml` and `prod.yaml` are read by SAM (samconfig.toml). `first_key` keeps
the first key in Secrets Manager; `check` reads a file before anything is built.
"""
