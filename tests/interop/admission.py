"""Evaluates admission policies as the API server does, as far as an evaluator of CEL without its types can.

Usage: admission.py POLICIES < PODS

Reads a JSON list of pods and writes a list of what becomes of each: the pod, or a text that says why it is refused or skipped.
`JSONPatch{...}` is a type that only the API server has; as a map it evaluates anywhere. Whether expressions have the right types,
and what they cost, is not checked here.
"""

import json
import re
import sys

import celpy
import jsonpatch
import yaml

PARAMETERS = {"data": {"image": "ghcr.io/example/tollgate:0.1.0", "config": "orders-gate", "secret": "tollgate"}}
FUNCTIONS = {"dyn": lambda value: value, "indexOf": lambda values, value: celpy.celtypes.IntType(list(values).index(value))}

environment = celpy.Environment()


def evaluate(expression, variables):
    plain = re.sub(r"JSONPatch\{op:", "{'op':", expression)
    plain = re.sub(r", (path|value): ", r", '\1': ", plain)
    program = environment.program(environment.compile(plain), functions=FUNCTIONS)
    return plain_value(program.evaluate({name: celpy.json_to_cel(value) for name, value in variables.items()}))


def plain_value(value):
    """The value without the types of CEL, in which a boolean is a kind of integer."""
    if isinstance(value, celpy.celtypes.BoolType):
        return bool(value)
    if isinstance(value, dict):
        return {str(name): plain_value(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain_value(member) for member in value]
    return json.loads(json.dumps(value, cls=celpy.CELJSONEncoder))


def in_the_scope_of(spec, pod):
    """The variables of a policy, in order: each may use those before it. And whether all conditions hold."""
    scope = {"object": pod, "params": PARAMETERS, "variables": {}}
    for condition in spec.get("matchConditions", []):
        if not evaluate(condition["expression"], scope):
            return None, condition["name"]
    for variable in spec.get("variables", []):
        scope["variables"][variable["name"]] = evaluate(variable["expression"], scope)
    return scope, None


def mutate(spec, pod):
    for mutation in spec["mutations"]:
        scope, skipped = in_the_scope_of(spec, pod)
        if scope is None:
            return f"skipped: {skipped}"
        pod = jsonpatch.apply_patch(pod, evaluate(mutation["jsonPatch"]["expression"], scope))
    return pod


def validate(spec, pod):
    scope, skipped = in_the_scope_of(spec, pod)
    if scope is None:
        return f"skipped: {skipped}"
    for validation in spec["validations"]:
        if not evaluate(validation["expression"], scope):
            return f"refused: {validation['message']}"
    return pod


with open(sys.argv[1], encoding="utf-8") as file:
    policies = [document for document in yaml.safe_load_all(file) if document and document["kind"].endswith("Policy")]
results = []
for pod in json.load(sys.stdin):
    for policy in policies:
        if isinstance(pod, dict):
            pod = {"MutatingAdmissionPolicy": mutate, "ValidatingAdmissionPolicy": validate}[policy["kind"]](policy["spec"], pod)
    results.append(pod)
json.dump(results, sys.stdout)
