"""What Camtrap DP 1.0.2 wants of its tables, by our reading of it, as Table Schemas for frictionless."""

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%z"}
_YES: dict[str, Any] = {"type": "boolean"}


def _number(least: float, most: float | None = None, kind: str = "number") -> dict[str, Any]:
    bounds: dict[str, Any] = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return {"type": kind, "constraints": bounds}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "constraints": {"enum": list(values)}}


_COLUMNS: dict[str, dict[str, dict[str, Any]]] = {
    "deployments": {
        "deploymentID": _TEXT,
        "locationID": _TEXT,
        "locationName": _TEXT,
        "latitude": _number(-90, 90),
        "longitude": _number(-180, 180),
        "coordinateUncertainty": _number(1, kind="integer"),
        "deploymentStart": _TIME,
        "deploymentEnd": _TIME,
        "setupBy": _TEXT,
        "cameraID": _TEXT,
        "cameraModel": _TEXT,
        "cameraDelay": _number(0, kind="integer"),
        "cameraHeight": _number(0),
        "cameraDepth": _number(0),
        "cameraTilt": _number(-90, 90, "integer"),
        "cameraHeading": _number(0, 360, "integer"),
        "detectionDistance": _number(0),
        "timestampIssues": _YES,
        "baitUse": _YES,
        "featureType": _one_of(
            *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass"),
            *("roadBridge", "culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
        ),
        "habitat": _TEXT,
        "deploymentGroups": _TEXT,
        "deploymentTags": _TEXT,
        "deploymentComments": _TEXT,
    },
    "media": {
        "mediaID": _TEXT,
        "deploymentID": _TEXT,
        "captureMethod": _one_of("activityDetection", "timeLapse"),
        "timestamp": _TIME,
        "filePath": {"type": "string", "constraints": {"pattern": r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"}},
        "filePublic": _YES,
        "fileName": _TEXT,
        "fileMediatype": {"type": "string", "constraints": {"pattern": "^(image|video|audio)/.*$"}},
        "exifData": {"type": "any"},
        "favorite": _YES,
        "mediaComments": _TEXT,
    },
    "observations": {
        "observationID": _TEXT,
        "deploymentID": _TEXT,
        "mediaID": _TEXT,
        "eventID": _TEXT,
        "eventStart": _TIME,
        "eventEnd": _TIME,
        "observationLevel": _one_of("media", "event"),
        "observationType": _one_of("animal", "human", "vehicle", "blank", "unknown", "unclassified"),
        "cameraSetupType": _one_of("setup", "calibration"),
        "scientificName": _TEXT,
        "count": _number(1, kind="integer"),
        "lifeStage": _one_of("adult", "subadult", "juvenile"),
        "sex": _one_of("female", "male"),
        "behavior": _TEXT,
        "individualID": _TEXT,
        "individualPositionRadius": _number(0),
        "individualPositionAngle": _number(-90, 90),
        "individualSpeed": _number(0),
        "bboxX": _number(0, 1),
        "bboxY": _number(0, 1),
        "bboxWidth": _number(1e-15, 1),
        "bboxHeight": _number(1e-15, 1),
        "classificationMethod": _one_of("human", "machine"),
        "classifiedBy": _TEXT,
        "classificationTimestamp": _TIME,
        "classificationProbability": _number(0, 1),
        "observationTags": _TEXT,
        "observationComments": _TEXT,
    },
}
_NEEDED = {
    "deployments": {"deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd"},
    "media": {"mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileMediatype"},
    "observations": {
        *("observationID", "deploymentID", "eventStart", "eventEnd", "observationLevel", "observationType"),
    },
}
_KEYS = {"deployments": "deploymentID", "media": "mediaID", "observations": "observationID"}
_REFERENCES = {
    "deployments": (),
    "media": (("deploymentID", "deployments"),),
    "observations": (("deploymentID", "deployments"), ("mediaID", "media")),
}


def table_schema(name: str) -> dict[str, Any]:
    return {
        "missingValues": ["", "NA", "NaN", "nan"],
        "primaryKey": _KEYS[name],
        "foreignKeys": [
            {"fields": field, "reference": {"resource": other, "fields": field}}
            for field, other in _REFERENCES[name]
        ],
        "fields": [
            {
                "name": column,
                **kind,
                "constraints": {
                    **kind.get("constraints", {}),
                    "required": column in _NEEDED[name],
                    **({"unique": True} if column == _KEYS[name] else {}),
                },
            }
            for column, kind in _COLUMNS[name].items()
        ],
    }
