#!/bin/sh
# mcp 1.30.0 (Python), a FastMCP tool whose structured answer holds a float that is infinite or NaN, such as a score.
#
# Guess: the server, which checks its answers against the tool's output schema, refuses it; or the client reads it.
# Behaviour: the check passes, the number is written as null, the answer is no error, and the same schema then fails in
# the client: the call raises, though server and logs say that all is well. The text beside it says NaN or Infinity.
#
# Seen:
#   0.5: 0.5
#   inf: the client raises RuntimeError (not of type 'number')
#   nan: the client raises RuntimeError (not of type 'number')
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q mcp==1.30.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import asyncio, logging

from pydantic import BaseModel
from mcp import types
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session

logging.disable()
server = FastMCP("tools")

class Hit(BaseModel):
    score: float

@server.tool()
def best(score: str) -> Hit:
    return Hit(score=float(score))

async def main():
    async with create_connected_server_and_client_session(server._mcp_server) as client:
        for score in ("0.5", "inf", "nan"):
            call = types.CallToolRequest(params=types.CallToolRequestParams(name="best", arguments={"score": score}))
            sent = await client.send_request(types.ClientRequest(call), types.CallToolResult)
            try:
                seen = str((await client.call_tool("best", {"score": score})).structuredContent["score"])
            except RuntimeError as error:
                reason = "not of type 'number'"
                assert reason in str(error)
                seen = f"the client raises RuntimeError ({reason})"
            print(f"{score}: {seen}")
            assert not sent.isError and (sent.structuredContent["score"] is None) == (score != "0.5")
            assert seen.startswith("the client raises") == (score != "0.5")

asyncio.run(main())
PY
