#!/bin/sh
# mcp 1.30.0 (Python), a FastMCP tool with a text argument that may be left out: `query: str | None = None`.
#
# Guess: the function gets the text that the client sent, as it does for `query: str`.
# Behaviour: any argument whose annotation is not exactly `str` is first tried as JSON, and a result that is neither text
# nor a number replaces it. So the word null arrives as None, without an error, and text in brackets is refused because
# it is "no string". Both are valid by the tool's own schema. `query: str = ""` gets them as they are.
#
# Seen (str | None; str):
#   'a dog': 'a dog'; 'a dog'
#   'null': None; 'null'
#   '[2024]': an error; '[2024]'
#   '{}': an error; '{}'
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q mcp==1.30.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import asyncio, logging

from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session

logging.disable()
server = FastMCP("tools")

@server.tool()
def optional(query: str | None = None) -> str:
    return repr(query)

@server.tool()
def plain(query: str = "") -> str:
    return repr(query)

async def main():
    expected = {"a dog": "'a dog'", "null": "None", "[2024]": "an error", "{}": "an error"}
    async with create_connected_server_and_client_session(server._mcp_server) as client:
        async def ask(tool, text):
            answer = await client.call_tool(tool, {"query": text})
            return "an error" if answer.isError else answer.content[0].text

        for text, arrived in expected.items():
            seen = await ask("optional", text), await ask("plain", text)
            print(f"{text!r}: {'; '.join(seen)}")
            assert seen == (arrived, repr(text))

asyncio.run(main())
PY
