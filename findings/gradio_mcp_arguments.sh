#!/bin/sh
# Gradio 6.31.0, a function with defaults and a Google-style docstring as an MCP tool.
#
# Guess: an event listener's function becomes a tool whose arguments carry the defaults of the signature and the whole
# text of their `Args:` entries, as with `gr.api`.
# Behaviour: of an entry only its first line is passed on, by both. With a listener the defaults of the function are
# dropped and those of the components taken, so arguments with a default become required.
#
# Seen:
#   listener: query is described as 'what to look for,'; required: ['query', 'count']
#   gr.api: query is described as 'what to look for,'; required: []
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q 'gradio[mcp]==6.31.0'
cd "$place"
"$place/venv/bin/python" - <<'PY'
import json, os, urllib.request

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr

def find(query: str = "dogs", count: int = 7) -> str:
    """Find pictures.

    Args:
        query: what to look for,
            in any language
        count: how many
    """
    return query * count

def tool(blocks):
    _, address, _ = blocks.launch(mcp_server=True, prevent_thread_lock=True, quiet=True)
    with urllib.request.urlopen(address + "gradio_api/mcp/schema") as answer:
        (schema,) = json.load(answer)
    blocks.close()
    return schema["inputSchema"]

with gr.Blocks() as by_listener:
    inputs = [gr.Textbox(), gr.Number(precision=0)]
    gr.Button().click(find, inputs, gr.Textbox(), api_name="find")
with gr.Blocks() as by_api:
    gr.api(find, api_name="find")
for name, blocks, required in (("listener", by_listener, ["query", "count"]), ("gr.api", by_api, [])):
    schema = tool(blocks)
    described = schema["properties"]["query"]["description"]
    print(f"{name}: query is described as {described!r}; required: {schema.get('required', [])}")
    assert described == "what to look for," and schema.get("required", []) == required
PY
