"""Holds Kubernetes objects against the strict schemas of Kubernetes versions: unknown fields are refused.

Usage: manifests.py VERSION=FILE...

Objects of custom types have no schema there; they are counted apart.
"""

import functools
import sys

import kubernetes_validate
import yaml
from kubernetes_validate import utils

# The definitions are megabytes, and are the same for every object.
utils.schema_contents = functools.cache(utils.schema_contents)

objects, custom, mistakes = 0, set(), []
for argument in sys.argv[1:]:
    version, _, path = argument.partition("=")
    with open(path, encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document]
    for document in documents:
        kind, api = document["kind"], document["apiVersion"]
        group = api.split("/")[0] if "/" in api else ""
        if "." in group and (not group.endswith(".k8s.io") or group == "gateway.networking.k8s.io"):
            custom.add(f"{api}/{kind}")
            continue
        objects += 1
        name = f"{path}: {kind} {document['metadata']['name']} against {version}"
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            mistakes.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            mistakes.append(f"{name}: {error.message}")
if mistakes:
    sys.exit("\n".join(mistakes))
print(f"ok {objects} objects; custom: {' '.join(sorted(custom))}")
