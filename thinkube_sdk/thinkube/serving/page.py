"""The page at `/docs`: what the agent takes and how to call it. Nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from thinkube.serving.runtime import Runtime

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
pre, textarea {{ font: 14px/1.4 ui-monospace, monospace; width: 100%; box-sizing: border-box; padding: .7rem;
  border: 1px solid #8886; border-radius: 6px; overflow: auto; white-space: pre-wrap }}
button {{ font: inherit; padding: .3rem 1rem }}
small {{ opacity: .7 }}
</style>
<h1>{name} <small>release {release}</small></h1>
<p>{title}</p>
<h2>Try it</h2>
{key}<label for="input">Input</label>
<textarea id="input" rows="5">{example}</textarea>
<p><button id="run">Run</button></p>
<pre id="result" aria-live="polite"></pre>
<h2>Call it</h2>
<pre>{calls}</pre>
<p>An OpenAI client works with <code>base_url=".../v1"</code>.
The full description is <a href="openapi.json">openapi.json</a>.</p>
<h2>Input</h2><pre>{takes}</pre>
<h2>Output</h2><pre>{gives}</pre>
<script>
const result = document.getElementById("result");
document.getElementById("run").onclick = async () => {{
  result.textContent = "…";
  try {{
    const key = document.getElementById("key")?.value;
    const headers = {{"content-type": "application/json"}};
    if (key) headers.authorization = "Bearer " + key;
    const input = JSON.parse(document.getElementById("input").value);
    const answer = await fetch("invoke", {{method: "POST", headers,
      body: JSON.stringify({{input}})}});
    result.textContent = JSON.stringify(await answer.json(), null, 2);
  }} catch (error) {{ result.textContent = String(error); }}
}};
</script>
</html>
"""

_KEY = """<label for="key">Key</label>
<p><input id="key" type="password" autocomplete="off" placeholder="thinkube keys create NAME"></p>
"""


def render(runtime: Runtime) -> str:
    """The page of one agent."""
    takes = runtime.agent.takes
    example = _example(runtime)
    body = json.dumps({"input": example}, ensure_ascii=False)
    chat = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
    protected = bool(runtime.access.authorities)
    calls = [_curl("invoke", body, protected), _curl("stream", body, protected)]
    if takes.text is not None or takes.messages is not None:
        calls.append(_curl("v1/chat/completions", chat, protected))
    return _PAGE.format(
        key=_KEY if protected else "",
        name=escape(runtime.name),
        release=escape(runtime.release or "unnamed"),
        title=escape(runtime.title),
        example=escape(json.dumps(example, indent=2, ensure_ascii=False)),
        calls=escape("\n\n".join(calls)),
        takes=escape(json.dumps(takes.schema(), indent=2, ensure_ascii=False)),
        gives=escape(json.dumps(runtime.agent.gives, indent=2, ensure_ascii=False)),
    )


def _example(runtime: Runtime) -> Any:
    takes = runtime.agent.takes
    if takes.messages is not None and not takes.single:
        return {takes.messages: [{"role": "user", "content": "Hello"}]}
    if takes.text is not None:
        return "Hello" if takes.single else {takes.text: "Hello"}
    return dict.fromkeys(takes.names)


def _curl(path: str, body: str, protected: bool) -> str:
    key = '-H "authorization: Bearer $KEY" ' if protected else ""
    return f"curl -s {key}-H 'content-type: application/json' -d '{body}' http://HOST:PORT/{path}"
