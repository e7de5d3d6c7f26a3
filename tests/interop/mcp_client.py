"""mcp (PyPI): the MCP client finds the authorization server from a 401, has a person sign in, and calls a tool."""

import asyncio
import os

from browser import authorize, parameters
from environment import check
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

RESOURCE = os.environ["RESOURCE"]
REDIRECT_URI = os.environ["REDIRECT_URI"]


class Storage:
    """What a program keeps: it is registered already."""

    def __init__(self):
        self.tokens = None
        self.client = OAuthClientInformationFull(
            client_id=os.environ["CLIENT_ID"], redirect_uris=[REDIRECT_URI], token_endpoint_auth_method="none"
        )

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


answered = {}


async def show(url):
    """The person is sent to the authorization server, and comes back."""
    answered.update(parameters(await asyncio.to_thread(authorize, url, REDIRECT_URI)), sent_to=url)


async def answer():
    """What came back with the person."""
    return AuthorizationCodeResult(code=answered["code"], state=answered.get("state"), iss=answered.get("iss"))


async def main():
    """Call a tool, with a token that is not there yet."""
    storage = Storage()
    metadata = OAuthClientMetadata(redirect_uris=[REDIRECT_URI])
    provider = OAuthClientProvider(RESOURCE, metadata, storage, show, answer)
    async with create_mcp_http_client(auth=provider) as http:
        async with Client(streamable_http_client(RESOURCE, http_client=http)) as client:
            result = await client.call_tool("echo", {"message": "hello"})
    check(answered["sent_to"].startswith(os.environ["ISSUER"]), "a 401 led to the authorization server")
    check(parameters(answered["sent_to"])["resource"] == RESOURCE, "which was asked for a token for the MCP server")
    check("hello" in result.content[0].text, "a tool answered")
    check(storage.tokens.token_type == "Bearer" and storage.tokens.refresh_token, "to a bearer token")


asyncio.run(main())
