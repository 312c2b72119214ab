from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.serving.conftest import Serve, Served

AGENT = """
def agent(question: str) -> str:
    assert question != "!"
    return question
"""


def figures(served: Served) -> dict[tuple[str, ...], float]:
    answer = served.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels.get(label, "") for label in ("path", "status"))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_path_and_status(serve: Serve) -> None:
    served = serve(AGENT, env={"THINKUBE_AUTH": "on"})
    before = figures(served)
    served.invoke("hello")
    served.invoke("hello")
    served.invoke("!")
    served.events("hello")
    for spelling in ("/nowhere", "/no/where", "/invoke/7"):
        served.client.get(spelling)
    after = figures(served)

    def grown(path: str, status: str) -> float:
        key = ("thinkube_requests_total", path, status)
        return after.get(key, 0) - before.get(key, 0)

    assert grown("/invoke", "200") == 2
    assert grown("/invoke", "500") == 1
    assert grown("/stream", "200") == 1
    assert grown("(none)", "404") == 3, "what nobody serves is one path, or strangers could fill the memory"
    assert after["thinkube_request_seconds_count", "/invoke", ""] >= 3
    assert after["thinkube_runs_in_progress", "", ""] == 0
    assert after["process_resident_memory_bytes", "", ""] > 1e6
