"""`samconfig.toml`, parsed, and the names of its environments."""

import tomllib

from tests.project import ROOT

CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
ENVIRONMENTS = ["default", "staging", "prod"]
