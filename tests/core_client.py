"""The official client of OpenAI's API against `ajatus core serve`: core_client.py URL KEY. Ends with 0 and `ok` if all is as it says."""

import base64
import json
import struct
import sys

import openai
from openai import OpenAI

url, key = sys.argv[1:]
client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)

models = {model.id: model for model in client.models.list()}
assert set(models) == {"SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"}, models
assert client.models.retrieve("SmolLM2-135M-Instruct").owned_by == "ajatus"
CHAT, EMBEDDING = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"

question = [{"role": "user", "content": "What is the capital of Finland?"}]
greedy = {"model": CHAT, "messages": question, "temperature": 0, "max_tokens": 40}
whole = client.chat.completions.create(**greedy)
text = whole.choices[0].message.content
assert text == "The capital of Finland is Helsinki.", text
assert whole.choices[0].finish_reason == "stop" and whole.object == "chat.completion"
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 20, whole.usage

pieces, reasons, usage = [], [], None
for chunk in client.chat.completions.create(**greedy, stream=True, stream_options={"include_usage": True}):
    assert chunk.object == "chat.completion.chunk"
    usage = chunk.usage or usage
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
        reasons.append(choice.finish_reason)
assert "".join(pieces) == text and len([piece for piece in pieces if piece]) > 3, pieces
assert reasons[-1] == "stop" and not any(reasons[:-1]), reasons
assert usage == whole.usage, (usage, whole.usage)

short = client.chat.completions.create(**{**greedy, "max_tokens": None, "max_completion_tokens": 3})
assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 3, short
stopped = client.chat.completions.create(**greedy, stop=["Helsinki", "Lyon"], seed=7, user="aino")
assert stopped.choices[0].message.content == "The capital of Finland is ", stopped

# Held to a schema, and to an object of any kind.
city = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99_999_999}}, "required": ["city", "people"], "additionalProperties": False}
held = client.chat.completions.create(**{**greedy, "max_tokens": 100}, response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": city, "strict": True}})
document = json.loads(held.choices[0].message.content)
assert list(document) == ["city", "people"] and isinstance(document["people"], int) and held.choices[0].finish_reason == "stop", held
loose = client.chat.completions.create(**{**greedy, "max_tokens": 5}, response_format={"type": "json_object"})
assert loose.choices[0].message.content.startswith("{"), loose

# Left in the middle: the next question is answered at once all the same.
stream = client.chat.completions.create(**{**greedy, "messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 1500}, stream=True)
next(iter(stream))
stream.close()
assert client.chat.completions.create(**greedy).choices[0].message.content == text

texts = ["A cat naps on the sofa.", "The kitten is sleeping on the couch.", "Interest rates rose in March.", "", "word " * 100_000]
answer = client.embeddings.create(model=EMBEDDING, input=texts, encoding_format="float")
vectors = [item.embedding for item in answer.data]
assert [len(vector) for vector in vectors] == [384] * 5
assert [getattr(item, "truncated", False) for item in answer.data] == [False] * 4 + [True]
dot = lambda a, b: sum(x * y for x, y in zip(a, b))
assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]) + 0.3
assert abs(dot(vectors[0], vectors[0]) - 1) < 1e-4
packed = client.embeddings.with_raw_response.create(model=EMBEDDING, input=texts[0], encoding_format="base64").http_response.json()
raw = base64.b64decode(packed["data"][0]["embedding"])
assert max(abs(a - b) for a, b in zip(struct.unpack("<384f", raw), vectors[0])) < 1e-6
assert len(client.embeddings.create(model=EMBEDDING, input=texts[0]).data[0].embedding) == 384, "as the client asks by itself"
assert answer.usage.total_tokens > 256

for wrong, kind in [
    ({"model": "gpt-4o"}, openai.NotFoundError),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, openai.BadRequestError),
    ({"temperature": 3}, openai.BadRequestError),
    ({"messages": [{"role": "user", "content": "word " * 10_000}]}, openai.BadRequestError),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "none", "schema": {"type": "strange"}}}}, openai.BadRequestError),
]:
    try:
        client.chat.completions.create(**{**greedy, **wrong})
        raise SystemExit(f"{wrong} was taken")
    except kind as error:
        assert error.body["message"], error
try:
    OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()
    raise SystemExit("a wrong key was taken")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key", error.body
print("ok")
