"""Reads metrics with the parser of the Prometheus client for Python.

Usage: metrics.py openmetrics|prometheus FILE
"""

import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

parse = {"openmetrics": openmetrics, "prometheus": parser}[sys.argv[1]].text_string_to_metric_families
with open(sys.argv[2], encoding="utf-8") as file:
    families = list(parse(file.read()))
for family in families:
    if not family.documentation or family.type in ("unknown", "untyped"):
        sys.exit(f"{family.name} has no help or no type")
print(f"ok {len(families)} families, {sum(len(family.samples) for family in families)} samples")
