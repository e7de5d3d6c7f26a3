"""Holds parts of a configuration, such as pages show, against its JSON schema: names, types and values. What they leave out may
be elsewhere in the file.

Usage: fragments.py SCHEMA < FRAGMENTS, a JSON object of them by their place
"""

import json
import sys

from jsonschema import Draft202012Validator


def partial(schema):
    """The same schema, in which nothing must be there, so that more than one form of a thing may fit."""
    if isinstance(schema, list):
        return [partial(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: partial(each) for name, each in schema.items() if name != "required" or not isinstance(each, list)}
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
    return kept


with open(sys.argv[1], encoding="utf-8") as file:
    validator = Draft202012Validator(partial(json.load(file)))
fragments = json.load(sys.stdin)
mistakes = [
    f"{place}: {'.'.join(map(str, error.path))}: {error.message}"
    for place, fragment in fragments.items()
    for error in validator.iter_errors(fragment)
]
if mistakes:
    sys.exit("\n".join(mistakes))
print(f"ok {len(fragments)} fragments")
