"""What every operation does with a request that is not as it should be: one table, an outcome for each."""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
import pytest
from fake_llm import FakeModels
from patience import soon
from serving import asynchronous, client_of

from pacos.server.access import logs_to

CHAT = "/v1/chat/completions"
GOOD = b'{"messages": [{"role": "user", "content": "hello"}]}'
PLAIN = {"content-type": "application/json"}
FORM = "application/x-www-form-urlencoded"
OWN = "http://127.0.0.1:8080"  # the address that the tests' client asks


def _message(**fields: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "hello", **fields}]}).encode()


def _deep(levels: int) -> bytes:
    return b'{"messages": ' + b"[" * levels + b"]" * levels + b"}"


def _keys(count: int) -> bytes:
    return GOOD[:-1] + b', "logit_bias": {' + b",".join(b'"%d": 1' % key for key in range(count)) + b"}}"


# id of the catalogue: body, headers, status, what the message says, code
BODIES = {
    "B-01-empty": (b"", PLAIN, 400, "no body", "invalid_json"),
    "B-01-blank": (b" \n", PLAIN, 400, "no body", "invalid_json"),
    "B-01-null": (b"null", PLAIN, 400, "expected object", "invalid_type"),
    "B-01-true": (b"true", PLAIN, 400, "expected object", "invalid_type"),
    "B-01-number": (b"42", PLAIN, 400, "expected object", "invalid_type"),
    "B-01-text": (b'"x"', PLAIN, 400, "expected object", "invalid_type"),
    "B-01-array": (b"[]", PLAIN, 400, "expected object", "invalid_type"),
    "B-01-object": (b"{}", PLAIN, 400, "messages is missing", "missing_field"),
    "B-02-not-json": (b"messages=hello", PLAIN, 400, "not JSON", "invalid_json"),
    "B-02-truncated": (GOOD[:-3], PLAIN, 400, "not JSON", "invalid_json"),
    "B-02-trailing-comma": (GOOD[:-1] + b",}", PLAIN, 400, "not JSON", "invalid_json"),
    "B-02-comment": (b"/* */" + GOOD, PLAIN, 400, "not JSON", "invalid_json"),
    "B-02-single-quotes": (GOOD.replace(b'"', b"'"), PLAIN, 400, "not JSON", "invalid_json"),
    "B-02-garbage": (GOOD + b"x", PLAIN, 400, "not JSON", "invalid_json"),
    "B-02-two-documents": (GOOD + GOOD, PLAIN, 400, "not JSON", "invalid_json"),
    "B-03-nan": (GOOD[:-1] + b', "temperature": NaN}', PLAIN, 400, "NaN", "invalid_json"),
    "B-03-infinity": (GOOD[:-1] + b', "temperature": Infinity}', PLAIN, 400, "Infinity", "invalid_json"),
    "B-03-negative-infinity": (GOOD[:-1] + b', "temperature": -Infinity}', PLAIN, 400, "-Infinity", "invalid_json"),
    "B-03-huge-float": (GOOD[:-1] + b', "temperature": 1e999}', PLAIN, 400, "too large", "invalid_json"),
    "B-03-huge-integer": (GOOD[:-1] + b', "top_k": ' + b"9" * 300 + b"}", PLAIN, 400, "top_k is", "invalid_value"),
    "B-03-endless-integer": (GOOD[:-1] + b', "seed": ' + b"9" * 5000 + b"}", PLAIN, 400, "5000 digits", "invalid_json"),
    "B-03-negative-zero": (GOOD[:-1] + b', "temperature": -0.0}', PLAIN, 200, "", None),
    "B-04-64-levels": (_deep(63), PLAIN, 400, "messages[0]", "invalid_type"),
    "B-04-65-levels": (_deep(64), PLAIN, 400, "deeper than 64", "invalid_json"),
    "B-04-1000-levels": (_deep(1000), PLAIN, 400, "deeper than 64", "invalid_json"),
    "B-04-100000-levels": (_deep(100_000), PLAIN, 400, "deeper than 64", "invalid_json"),
    "B-04-100000-objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, PLAIN, 400, "deeper", "invalid_json"),
    "B-05-twice": (GOOD[:-1] + b', "model": "fake", "model": "x"}', PLAIN, 400, "model is given twice", "invalid_json"),
    "B-05-messages-twice": (GOOD[:-1] + b"," + GOOD[1:], PLAIN, 400, "messages is given twice", "invalid_json"),
    "B-05-inside": (
        b'{"messages": [{"role": "user", "role": "system", "content": "x"}]}',
        PLAIN,
        400,
        "role is given twice",
        "invalid_json",
    ),
    "B-06-utf-16": (GOOD.decode().encode("utf-16"), PLAIN, 400, "not UTF-8", "invalid_json"),
    "B-06-utf-32": (GOOD.decode().encode("utf-32"), PLAIN, 400, "not UTF-8", "invalid_json"),
    "B-06-utf-8-bom": (b"\xef\xbb\xbf" + GOOD, PLAIN, 400, "not JSON", "invalid_json"),
    "B-06-latin-1": (GOOD.replace(b"hello", b"h\xe9"), PLAIN, 400, "not UTF-8 (byte 44)", "invalid_json"),
    "B-06-gbk": (GOOD.replace(b"hello", "你好".encode("gbk")), PLAIN, 400, "not UTF-8", "invalid_json"),
    "B-06-control": (GOOD.replace(b"hello", b"a\nb"), PLAIN, 400, "not JSON", "invalid_json"),
    "B-07-many-keys": (_keys(1_000_001), PLAIN, 400, "more than 1000000 values", "invalid_json"),
    "B-07-long-key": (b'{"' + b"k" * (9 << 20) + b'": 1}', PLAIN, 400, "text of 9437184 characters", "invalid_json"),
    "B-07-zeros": (GOOD[:-1] + b', "stop": [' + b"0," * 5_000_000 + b"0]}", PLAIN, 400, "more than", "invalid_json"),
    "B-08-unknown": (GOOD[:-1] + b', "strem": true}', PLAIN, 400, "did you mean stream?", "unknown_field"),
    "T-21-surrogate": (GOOD.replace(b"hello", b"\\ud800"), PLAIN, 400, "surrogate", "invalid_json"),
    "T-21-surrogate-in-role": (GOOD.replace(b"user", b"\\udc00"), PLAIN, 400, "surrogate", "invalid_json"),
    "T-21-surrogate-in-key": (GOOD[:-1] + b', "\\ud800": 1}', PLAIN, 400, "surrogate", "invalid_json"),
    "T-21-pair": (GOOD.replace(b"hello", b"\\ud83d\\ude00"), PLAIN, 200, "", None),
    "T-20-nul": (GOOD.replace(b"hello", b"a\\u0000b"), PLAIN, 200, "", None),
    "H-11-limit": (GOOD + b" " * (16 << 20), PLAIN, 413, "more than 16777216 bytes", "body_too_large"),
    "H-12-gzip": (GOOD, {**PLAIN, "content-encoding": "gzip"}, 415, "compressed", "unsupported_media_type"),
    "H-12-unknown": (GOOD, {**PLAIN, "content-encoding": "x"}, 415, "compressed", "unsupported_media_type"),
    "H-13-missing": (GOOD, {}, 200, "", None),
    "H-13-of-curl": (GOOD, {"content-type": FORM}, 200, "", None),
    "H-13-text": (GOOD, {"content-type": "text/plain"}, 415, "text/plain", "unsupported_media_type"),
    "H-13-multipart": (GOOD, {"content-type": "multipart/form-data; boundary=x"}, 415, "", "unsupported_media_type"),
    "H-13-utf-16": (GOOD, {"content-type": "application/json; charset=utf-16"}, 415, "", "unsupported_media_type"),
    "H-13-utf-8": (GOOD, {"content-type": 'application/json; charset="UTF-8"'}, 200, "", None),
    "H-13-semicolon": (GOOD, {"content-type": "application/json;"}, 200, "", None),
    "H-13-vendor": (GOOD, {"content-type": "application/vnd.api+json"}, 200, "", None),
    "H-13-form-of-a-page": (GOOD, {"content-type": FORM, "origin": OWN}, 415, "", "unsupported_media_type"),
    "H-13-nothing-of-a-page": (GOOD, {"sec-fetch-site": "same-origin"}, 415, "", "unsupported_media_type"),
    "H-13-json-of-a-page": (GOOD, {**PLAIN, "origin": OWN}, 200, "", None),
    "B-27-null": (b'{"messages": null}', PLAIN, 400, "messages is null", "invalid_type"),
    "B-27-text": (b'{"messages": ""}', PLAIN, 400, 'messages is ""', "invalid_type"),
    "B-27-object": (b'{"messages": {}}', PLAIN, 400, "messages is {}", "invalid_type"),
    "B-27-of-null": (b'{"messages": [null]}', PLAIN, 400, "messages[0] is null", "invalid_type"),
    "B-27-of-number": (b'{"messages": [123]}', PLAIN, 400, "messages[0] is 123", "invalid_type"),
    "B-27-of-nothing": (b'{"messages": [{}]}', PLAIN, 400, "messages[0].role is missing", "missing_field"),
    "B-27-role-number": (_message(role=123), PLAIN, 400, "messages[0].role is 123", "invalid_type"),
    "B-27-role-empty": (_message(role=""), PLAIN, 400, "messages[0].role", "invalid_type"),
    "B-27-role-unknown": (_message(role="root"), PLAIN, 400, 'messages[0].role is "root"', "invalid_type"),
    "B-27-content-number": (_message(content=123), PLAIN, 400, "messages[0].content is 123", "invalid_type"),
    "B-27-part-unknown": (_message(content=[{"type": "x"}]), PLAIN, 400, "messages[0].content[0].type", "invalid_type"),
    "B-27-part-without-type": (_message(content=[{}]), PLAIN, 400, "messages[0].content[0]", "missing_field"),
    "B-30-stream-text": (GOOD[:-1] + b', "stream": "yes"}', PLAIN, 400, 'stream is "yes"', "invalid_type"),
    "B-30-stream-number": (GOOD[:-1] + b', "stream": 1}', PLAIN, 400, "stream is 1", "invalid_type"),
    "B-30-options": (GOOD[:-1] + b', "stream_options": []}', PLAIN, 400, "stream_options is []", "invalid_type"),
    "B-31-number": (GOOD[:-1] + b', "model": 123}', PLAIN, 400, "model is 123", "invalid_type"),
    "B-31-path": (GOOD[:-1] + b', "model": "../../x"}', PLAIN, 404, "no model '../../x'", "model_not_found"),
    "B-31-long": (GOOD[:-1] + b', "model": "' + b"x" * 10240 + b'"}', PLAIN, 404, "no model 'xxx", "model_not_found"),
    "B-31-case": (GOOD[:-1] + b', "model": "FAKE"}', PLAIN, 404, "no model 'FAKE'", "model_not_found"),
    "B-31-default": (GOOD[:-1] + b', "model": "default"}', PLAIN, 200, "", None),
    "B-36-user": (GOOD[:-1] + b', "user": "' + b"x" * (1 << 20) + b'"}', PLAIN, 400, "user", "invalid_type"),
    "B-36-nul": (GOOD[:-1] + b', "user": "a\\u0000"}', PLAIN, 400, "user", "invalid_type"),
    "B-36-metadata": (GOOD[:-1] + b', "metadata": {"a": 1}}', PLAIN, 400, "metadata", "invalid_type"),
}


@pytest.mark.parametrize(("body", "headers", "status", "said", "code"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@asynchronous
async def test_body(
    body: bytes, headers: dict[str, str], status: int, said: str, code: str | None, chunked: bool
) -> None:
    async def pieces():
        for start in range(0, len(body), 1 << 20):
            yield body[start : start + (1 << 20)]

    async with client_of() as client:
        reply = await client.post(CHAT, content=pieces() if chunked else body, headers=headers)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    if status != 200:
        error = reply.json()["error"]
        assert said in error["message"]
        assert error["code"] == code
        assert set(error) == {"message", "type", "param", "code"}
        assert len(error["message"]) < 400


# id: method, path, status, Allow
PATHS = {
    "N-18-unknown": ("GET", "/v2/nothing", 404, None),
    "N-18-unknown-post": ("POST", "/chat/completion", 404, None),
    "N-18-trailing-slash": ("POST", "/v1/chat/completions/", 404, None),
    "H-03-double-slash": ("POST", "//v1/chat/completions", 404, None),
    "H-03-traversal": ("GET", "/v1/models/../../etc/passwd", 404, None),
    "H-03-escaped": ("GET", "/v1/models/%00%ff", 404, None),
    "N-18-wrong-method": ("GET", "/v1/chat/completions", 405, "POST"),
    "N-18-delete": ("DELETE", "/v1/embeddings", 405, "POST"),
    "H-02-method": ("BREW", "/v1/completions", 405, "POST"),
    "N-06-post-to-models": ("POST", "/v1/models", 405, "GET"),
    "H-02-trace": ("TRACE", "/v1/completions", 405, "POST"),
}


@pytest.mark.parametrize(("method", "path", "status", "allow"), PATHS.values(), ids=PATHS)
@asynchronous
async def test_path(method: str, path: str, status: int, allow: str | None) -> None:
    async with client_of() as client:
        request = client.build_request(method, "/")
        request.url = httpx.URL(scheme="http", host="127.0.0.1", port=8080, raw_path=path.encode())
        reply = await client.send(request)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] in {"not_found", "method_not_allowed", "model_not_found"}
    assert reply.headers.get("allow") == allow


@asynchronous
async def test_n_18_head() -> None:
    async with client_of() as client:
        assert (await client.head("/health")).status_code == 200


@pytest.mark.parametrize("given", ["abc-1.2:3", "x" * 128])
@asynchronous
async def test_request_id_is_kept(given: str) -> None:
    async with client_of() as client:
        reply = await client.get("/health", headers={"X-Request-Id": given})
    assert reply.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", "<script>"])
@asynchronous
async def test_request_id_that_is_none_is_replaced(given: str) -> None:
    async with client_of() as client:
        reply = await client.get("/health", headers={"X-Request-Id": given})
    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 16


@asynchronous
async def test_fault_tells_no_detail(caplog: pytest.LogCaptureFixture) -> None:
    models = FakeModels()
    async with client_of(models=models) as client:
        await client.post(CHAT, content=GOOD)

        def broken(*given: object, **named: object) -> None:
            raise RuntimeError("secret detail")

        models.opened["fake"].stream_chat = broken  # type: ignore[method-assign,assignment]
        reply = await client.post(CHAT, content=GOOD)
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert "secret detail" in caplog.text


@asynchronous
async def test_b_26_context_full() -> None:
    async with client_of() as client:
        body = {"messages": [{"role": "user", "content": "x" * 5000}]}
        reply = await client.post(CHAT, json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"


@asynchronous
async def test_x_12_log_has_no_secret_and_no_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    logs_to(sys.stderr, "json")
    async with client_of(api_key=("top-secret-key",)) as client:
        await client.post(CHAT, content=GOOD, headers={"Authorization": "Bearer top-secret-key"})
        await client.post(CHAT, content=GOOD, headers={"Authorization": "Bearer wrong-secret"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert [line["status"] for line in requests] == [200, 401]
    assert requests[0]["model"] == "fake"
    assert requests[0]["owner"].startswith("key-")
    assert not any(word in json.dumps(lines) for word in ("secret", "hello"))


@asynchronous
async def test_too_many_requests() -> None:
    models = FakeModels(held=True)
    async with client_of(models=models, requests_max=2) as client:
        asked = [asyncio.ensure_future(client.post(CHAT, content=GOOD)) for _ in range(4)]
        await soon(lambda: sum(one.done() for one in asked) >= 2)
        models.opened["fake"].held = False
        replies = await asyncio.gather(*asked)
        after = await client.post(CHAT, content=GOOD)
    assert sorted(reply.status_code for reply in replies) == [200, 200, 503, 503]
    assert all(reply.headers["retry-after"] for reply in replies if reply.status_code == 503)
    assert after.status_code == 200


@asynchronous
async def test_request_that_takes_too_long() -> None:
    models = FakeModels(held=True)
    async with client_of(models=models, request_seconds=0.1) as client:
        reply = await client.post(CHAT, content=GOOD)
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
    assert all(stream.closed for stream in models.opened["fake"].streams)


@asynchronous
async def test_bodies_have_a_size_and_a_time() -> None:
    async def pieces():
        yield GOOD[:5]
        await asyncio.sleep(5)
        yield GOOD[5:]

    async with client_of(body_bytes_max=1024, body_seconds=0.05) as client:
        large = await client.post(CHAT, content=GOOD + b" " * 1024, headers=PLAIN)
        slow = await client.post(CHAT, content=pieces(), headers=PLAIN)
        good = await client.post(CHAT, content=GOOD, headers=PLAIN)
    assert (large.status_code, slow.status_code, good.status_code) == (413, 408, 200)
    assert "more than 1024 bytes" in large.json()["error"]["message"]
    assert "too slowly: 5 bytes" in slow.json()["error"]["message"]


@pytest.mark.parametrize("wanted", [True, False])
@asynchronous
async def test_log_of_requests(wanted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs_to(sys.stderr, "text")
    async with client_of(log_requests=wanted) as client:
        assert (await client.get("/health")).status_code == 200
    assert (" path=/health status=200 " in capsys.readouterr().err) == wanted
