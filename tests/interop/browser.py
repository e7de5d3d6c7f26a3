"""A person with a browser without JavaScript: keeps cookies, fills in and submits whatever form it is shown."""

import os
import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

MAX_PAGES = 10


class Form(HTMLParser):
    """The first form of a page: where it goes, and what is in it."""

    def __init__(self, html):
        super().__init__()
        self.action, self.fields, self.open = None, {}, False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action, self.open = attrs["action"], True
        elif tag == "input" and self.open and "name" in attrs:
            self.fields[attrs["name"]] = attrs.get("value") or ""

    def handle_endtag(self, tag):
        self.open = self.open and tag != "form"


def pages(url, decision):
    """Open `url`, sign in and decide; yields every answer, the last one being no page with a form."""
    answers = {"username": os.environ["USERNAME"], "password": os.environ["PASSWORD"], "decision": decision}
    browser = requests.Session()
    page = browser.get(url, timeout=10, allow_redirects=False)
    for _ in range(MAX_PAGES):
        yield page
        page.raise_for_status()
        if page.is_redirect:
            page = browser.get(urljoin(page.url, page.headers["Location"]), timeout=10, allow_redirects=False)
            continue
        form = Form(page.text)
        if form.action is None or not re.search("user_code|password|decision", page.text):
            return
        wanted = [name for name in answers if f'name="{name}"' in page.text]
        form.fields.update({name: answers[name] for name in wanted})
        page = browser.post(
            urljoin(page.url, form.action),
            data=form.fields,
            headers={"Origin": "null"},
            timeout=10,
            allow_redirects=False,
        )
    raise SystemExit("FAILED  the pages for the person never end")


def decide(url, decision):
    """A person opens `url`, confirms the code that is in it, signs in and decides."""
    for _ in pages(url, decision):
        pass


def authorize(url, redirect_uri, decision="approve"):
    """A person opens an authorization request, signs in and decides; the URL at which the client gets the answer."""
    for page in pages(url, decision):
        if page.headers.get("Location", "").startswith(redirect_uri):
            return page.headers["Location"]
    raise SystemExit("FAILED  nobody sent the person back to the client")


def parameters(url):
    """The parameters of an answer."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
