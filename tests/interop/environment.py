"""What the scripts here have in common: how they tell what they saw, and where the metadata of an issuer is."""

from urllib.parse import urlsplit


def step(text):
    """Print the step that has just been seen to work."""
    print(f"ok  {text}")


def check(condition, text):
    """Fail with `text` unless `condition` holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise SystemExit(f"FAILED  {text}")
    step(text)


def metadata_url(issuer):
    """Where RFC 8414 §3 puts the metadata: between the host and the path of the issuer."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
