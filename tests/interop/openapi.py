"""Validates an OpenAPI 3.1 document, and its examples against its schemas.

Usage: openapi.py DOCUMENT
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate


def resolve(document, value):
    """What a local reference leads to."""
    while "$ref" in value:
        target = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def media_types(value):
    """Everything in the document that has a schema and examples."""
    if isinstance(value, dict):
        if "schema" in value and "examples" in value:
            yield value
        for member in value.values():
            yield from media_types(member)
    elif isinstance(value, list):
        for item in value:
            yield from media_types(item)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    validate(document)
    count = 0
    for media in media_types(document):
        # References are looked up from the root of what is validated.
        schema = {"components": document["components"], "allOf": [media["schema"]]}
        for name, example in media["examples"].items():
            example = resolve(document, example)
            errors = list(Draft202012Validator(schema).iter_errors(example["value"]))
            if errors:
                sys.exit(f"example {name}: {errors[0].message}")
            count += 1
    print(f"ok {len(document['paths'])} paths, {count} examples")


main()
