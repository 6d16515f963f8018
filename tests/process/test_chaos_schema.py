"""`aquahost chaos schema` in its short form: requests that schemathesis makes from the API's OpenAPI document."""

from __future__ import annotations

import json

from cli_process import cli_process


def test_requests_as_the_document_describes_them_and_others() -> None:
    with cli_process() as cli:
        done = cli.run("chaos", "schema", "--toys", "--cases", "120", "-o", "json")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert report["counts"]["requests"] >= 100
    assert report["counts"]["answered 200"] > 0
    assert report["counts"]["answered 400"] > 10
    assert [check["name"] for check in report["checks"] if check["found"]] == []
