"""Each format by the validator of those who read it."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import frictionless
import jsonschema
import pytest

from camtrap_tables import table_schema

STANDARD = "DROPSIGHT_TEST_CAMTRAP_DP"
"""The variable that names a folder with the files of Camtrap DP 1.0.2, to be used instead of our reading."""
_PROFILE = {
    *("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"),
}


def check_megadetector(file: Path) -> dict[str, Any]:
    """By the package's own validator; what it only warns of is a fault as well."""
    module = pytest.importorskip(
        "megadetector.postprocessing.validate_batch_results", reason="megadetector-utils is not installed"
    )
    options = module.ValidateBatchResultsOptions()
    options.raise_errors = options.return_data = True
    found: dict[str, Any] = module.validate_batch_results(str(file), options)
    assert found.pop("validation_results")["warnings"] == []
    return found


def check_camtrap_dp(folder: Path) -> dict[str, list[dict[str, str]]]:
    """By frictionless, tables, keys and all; return the rows of the tables."""
    described = json.loads((folder / "datapackage.json").read_text())
    profile = described.pop("profile")
    assert profile.endswith("/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json")
    _check_profile({**described, "profile": profile}, Path(profile).name)
    for resource in described["resources"]:
        name = f"{resource['name']}-table-schema.json"
        assert resource["schema"] == profile.replace("camtrap-dp-profile.json", name)
        standard = os.environ.get(STANDARD)
        resource["schema"] = (
            json.loads(Path(standard, name).read_text()) if standard else table_schema(resource["name"])
        )
        del resource["profile"]  # of frictionless 4; that of 5 calls it a type
    report = frictionless.Package.from_descriptor(described, basepath=str(folder)).validate()
    assert report.valid, report.flatten(["title", "rowNumber", "fieldName", "note"])
    tables = ("deployments", "media", "observations")
    return {name: list(csv.DictReader((folder / f"{name}.csv").read_text().splitlines())) for name in tables}


def _check_profile(described: dict[str, Any], name: str) -> None:
    assert set(described) >= _PROFILE
    assert all({"name", "path", "profile", "schema"} <= set(each) for each in described["resources"])
    assert all(each["title"] for each in described["contributors"])
    project = described["project"]
    assert set(project) >= {
        "title",
        "samplingDesign",
        "captureMethod",
        "individualAnimals",
        "observationLevel",
    }
    if standard := os.environ.get(STANDARD):
        schema = json.loads(Path(standard, name).read_text())
        del schema["allOf"][0]  # Data Package's own, which frictionless knows
        del schema["allOf"][0]["properties"]["spatial"]["$ref"]  # GeoJSON's, which lies elsewhere
        jsonschema.validate(described, schema)


def check_speciesnet(file: Path) -> dict[str, Any]:
    """There is no validator: what the format's readers insist on."""
    found: dict[str, Any] = json.loads(file.read_text())
    assert isinstance(found["info"]["format_version"], str)
    for each in found["predictions"]:
        assert not {"classifications", "prediction"} & set(each), "older formats are refused by these"
        if "failures" in each:
            assert each["failures"] == ["CLASSIFIER"]
            continue
        (whole,) = each["detections"]
        assert (whole["category"], whole["label"]) == ("0", "whole_image_classification")
        raw = whole["raw_classifications"]
        assert len(raw["classes"]) == len(raw["scores"]) > 0
        assert raw["scores"] == sorted(raw["scores"], reverse=True)
        assert all(len(name.split(";")) == 7 for name in raw["classes"])
    return found
