"""Reads a SAM template and has AWS's own translator turn it into CloudFormation.

The translator wants code in S3. Local folders and files are therefore named as objects of a bucket
that stands for the template's folder, and found again by `Source` when the resource is created.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from local.deployment.errors import DeploymentError
from local.deployment.parameters import ParameterValue

TEMPLATE_FOLDER = "the-templates-folder"
_PATH_PROPERTIES = ("CodeUri", "ContentUri", "DefinitionUri")


def read_template(path: Path) -> dict[str, Any]:
    """Read a SAM or CloudFormation template with its short-form functions (`!Ref`)."""
    from samtranslator.yaml_helper import yaml_parse  # noqa: PLC0415  slow to import

    try:
        template = yaml_parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeploymentError(f"cannot read the template: {error}") from error
    if not isinstance(template, dict) or not template.get("Resources"):
        raise DeploymentError(f"{path.name} has no Resources")
    return template


def translate(
    template: Mapping[str, Any], values: Mapping[str, ParameterValue], region: str
) -> dict[str, Any]:
    """Turn a SAM template into a CloudFormation template, Globals applied.

    Raises DeploymentError with the translator's own words.
    """
    from samtranslator.model.exceptions import (  # noqa: PLC0415  slow to import
        InvalidDocumentException,
    )
    from samtranslator.parser.parser import Parser  # noqa: PLC0415  slow to import
    from samtranslator.translator.translator import Translator  # noqa: PLC0415  slow to import

    prepared = _name_local_paths(template)
    session = boto3.Session(region_name=region)
    try:
        translated: dict[str, Any] = Translator({}, Parser(), boto_session=session).translate(
            prepared, parameter_values=dict(values)
        )
    except InvalidDocumentException as error:
        causes = "; ".join(cause.message for cause in error.causes)
        raise DeploymentError(f"the template is not valid: {causes}") from error
    return translated


def local_path(location: Mapping[str, str], root: Path) -> Path:
    """Find what a `Bucket`/`Key` (or `S3Bucket`/`S3Key`) of the template stands for."""
    bucket = location.get("S3Bucket", location.get("Bucket"))
    key = location.get("S3Key", location.get("Key"))
    if bucket != TEMPLATE_FOLDER or key is None:
        raise DeploymentError("only code in the template's folder can be run locally")
    return root / key


def _name_local_paths(template: Mapping[str, Any]) -> dict[str, Any]:
    prepared = copy.deepcopy(dict(template))
    holders = [resource.get("Properties") for resource in prepared["Resources"].values()]
    holders += (prepared.get("Globals") or {}).values()
    for properties in filter(None, holders):
        for name in _PATH_PROPERTIES:
            if isinstance(properties.get(name), str):
                key = properties[name]
                properties[name] = {"Bucket": TEMPLATE_FOLDER, "Key": key}
    return prepared
