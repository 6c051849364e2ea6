"""Each format by the validator of those who read it."""

import csv
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from camtrap_tables import table_schema

STANDARD = "DROPSIGHT_TEST_CAMTRAP_DP"
"""The variable that names a folder with the files of Camtrap DP 1.0.2, to be used instead of our reading."""
_VALIDATOR = """
import json, sys
from megadetector.postprocessing.validate_batch_results import validate_batch_results
print(json.dumps(validate_batch_results(sys.argv[1])["validation_results"]))
"""
_PROFILE = {
    *("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"),
}


def check_megadetector(file: Path) -> dict[str, Any]:
    """By the package's own validator, of which a warning counts as well.

    In a process of its own: where it is imported, Pillow reads files that are cut short from then on.
    """
    if find_spec("megadetector") is None:
        pytest.skip("megadetector-utils is not installed")
    done = subprocess.run(
        [sys.executable, "-c", _VALIDATOR, str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["errors"], told["warnings"]) == ([], [])
    found: dict[str, Any] = json.loads(file.read_text())
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
    import frictionless

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
    """There is no validator: by a schema of what its readers insist on, which refuse the keys of version 4.

    MegaDetector's converter, which wants pandas, made valid results of such a file.
    """
    found: dict[str, Any] = json.loads(file.read_text())
    jsonschema.validate(found, _SPECIESNET)
    for raw in (
        each["detections"][0]["raw_classifications"] for each in found["predictions"] if "detections" in each
    ):
        assert len(raw["classes"]) == len(raw["scores"])
        assert raw["scores"] == sorted(raw["scores"], reverse=True)
    return found


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(of: Any, least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": least, "maxItems": most}


_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_TAXON = {"type": "string", "pattern": "^[^;]*(;[^;]*){6}$"}
_WHOLE = _object(
    category={"const": "0"},
    label={"const": "whole_image_classification"},
    conf=_SHARE,
    bbox={"const": [0, 0, 1, 1]},
    raw_classifications=_object(classes=_list(_TAXON, 1, 5), scores=_list(_SHARE, 1, 5)),
)
_FILE = {"filepath": {"type": "string"}, "model_version": {"type": "string"}}
_SPECIESNET = _object(
    info=_object(format_version={"type": "string"}),
    predictions={
        "type": "array",
        "items": {
            "oneOf": [
                _object(**_FILE, detections=_list(_WHOLE, 1, 1)),
                _object(**_FILE, failures={"const": ["CLASSIFIER"]}),
            ]
        },
    },
)
