"""What is read of an export, and what of it carries loss."""

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

from blake3 import blake3

import base as bases
import conversations
import synthetic
import tiny
from conversations import Conversation, Refused
from examples import NO_LOSS, Example, Writer, as_asked

GOOD = {"messages": [{"role": "user", "content": "Hei"}, {"role": "assistant", "content": "Moi"}], "conversation": "a1", "split": "train"}
# Writes every turn the same however the conversation goes on.
PLAIN = "{{ bos_token }}{% for m in messages %}{{ '[INST]' if m['role'] == 'user' else '' }}{{ m['content'] }}{{ '[/INST]' if m['role'] == 'user' else eos_token }}{% endfor %}"


def turns(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    """A conversation in which the user begins."""
    roles = ("user", "assistant")
    before = [] if system is None else [{"role": "system", "content": system}]
    return before + [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


class Reading(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def refusal(self, *lines: bytes | dict[str, Any]) -> str:
        """Why a file of these lines is refused."""
        file = self.folder / "export.jsonl"
        file.write_bytes(b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines))
        with self.assertRaises(Refused) as refused:
            conversations.read(file)
        return str(refused.exception)

    def test_reads_what_the_synthetic_export_writes(self) -> None:
        synthetic.write(self.folder)
        export = conversations.read(self.folder)
        read = export.conversations
        self.assertEqual((read[0].place, read[-1].place), ("train.jsonl line 1", "valid.jsonl line 8"))
        self.assertEqual(export.content_hash, blake3((self.folder / "manifest.json").read_bytes()).hexdigest())
        self.assertEqual({one.split for one in read}, {"train", "valid"})
        asked = {split: {one.messages[-2]["content"] for one in read if one.split == split} for split in ("train", "valid")}
        self.assertFalse(asked["train"] & asked["valid"], "a question to test with is never trained on")

    def test_names_the_line_and_what_is_wrong_with_it(self) -> None:
        def with_messages(messages: Any) -> dict[str, Any]:
            return {**GOOD, "messages": messages}

        user, assistant = GOOD["messages"]
        cases: list[tuple[bytes | dict[str, Any], str]] = [
            (b"{", "not JSON"),
            (b"[]", "not an object"),
            (b"", "empty"),
            (b'{"a": "\xff"}', "not UTF-8"),
            ({key: value for key, value in GOOD.items() if key != "split"}, "lacks split"),
            ({**GOOD, "user": "aino"}, "unknown key user"),
            ({**GOOD, "split": "test"}, "split is 'test'"),
            ({**GOOD, "conversation": ""}, "conversation must be"),
            (with_messages([]), "messages must be a list"),
            (with_messages("Hei"), "messages must be a list"),
            (with_messages([user]), "no message of the assistant"),
            (with_messages([user, {"role": "tool", "content": "x"}]), "message 2 has the role 'tool'"),
            (with_messages([user, {"role": "assistant", "content": "  "}]), "message 2 has no text"),
            (with_messages([user, {"role": "assistant", "content": 7}]), "message 2 has no text"),
            (with_messages([user, {"role": "assistant"}]), "message 2 lacks content"),
            (with_messages([user, {"role": "system", "content": "x"}, assistant]), "message 2 has the role system"),
        ]
        for line, reason in cases:
            with self.subTest(reason=reason):
                said = self.refusal(GOOD, line, {**GOOD, "conversation": "b"})
                self.assertIn("line 2: ", said)
                self.assertIn(reason, said)
                self.assertIn("1 bad lines", said)

    def test_refuses_a_conversation_that_is_trained_on_and_tested_with(self) -> None:
        self.assertIn("line 2: its conversation is in valid, but in train in line 1", self.refusal(GOOD, {**GOOD, "split": "valid"}))

    def test_refuses_an_export_that_is_not_what_its_manifest_says(self) -> None:
        def refusal() -> str:
            with self.assertRaises(Refused) as refused:
                conversations.read(self.folder)
            return str(refused.exception)

        self.assertIn("manifest.json: No such file", refusal())
        synthetic.write(self.folder)
        file, manifest = self.folder / "train.jsonl", self.folder / "manifest.json"
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b"Rekku", b"Mopsi", 1))
        self.assertIn("train.jsonl: its hash is", refusal())
        bad = whole + json.dumps({**GOOD, "split": "valid"}).encode() + b"\n"
        file.write_bytes(bad)
        manifest.write_text(manifest.read_text().replace(blake3(whole).hexdigest(), blake3(bad).hexdigest()))
        self.assertIn("train.jsonl line 65: split is 'valid', but the file is that of train", refusal())
        file.unlink()
        self.assertIn("train.jsonl: No such file", refusal())
        manifest.write_text('{"files": {"train.parquet": {"blake3": "x"}}}')
        self.assertIn("--format jsonl", refusal())
        manifest.write_text("[]")
        self.assertIn("not the manifest", refusal())

    def test_counts_what_it_does_not_name(self) -> None:
        said = self.refusal(*[b"{"] * 25)
        self.assertIn("25 bad lines", said)
        self.assertIn("and 15 more", said)

    def test_refuses_a_file_with_nothing_to_train_on(self) -> None:
        self.assertIn("no conversation with the split train", self.refusal({**GOOD, "split": "valid"}))
        with self.assertRaises(Refused) as refused:
            conversations.read(self.folder / "nothing")
        self.assertIn("training-set", str(refused.exception))


class Masking(unittest.TestCase):
    folder: Path
    base: bases.Base

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        tiny.write(cls.folder)
        (cls.folder / "plain.jinja").write_text(PLAIN)
        cls.base = bases.find(str(cls.folder), None)

    def rows(self, messages: list[dict[str, str]], max_tokens: int = 500, plain: bool = False) -> tuple[list[tuple[str, str]], Any]:
        """Each row's text and the text of it that carries loss."""
        tokenizer = bases.tokenizer(self.base, self.folder / "plain.jinja" if plain else None)
        made = Writer(tokenizer, max_tokens).write([Conversation("line 1", messages, "a", "train")])

        def texts(row: Example) -> tuple[str, str]:
            self.assertEqual(len(row.tokens), len(row.labels))
            self.assertTrue(all(label in (token, NO_LOSS) for token, label in zip(row.tokens, row.labels, strict=True)))
            return str(tokenizer.decode(row.tokens)), str(tokenizer.decode([label for label in row.labels if label != NO_LOSS]))

        return [texts(row) for row in made.rows], made

    def test_only_answers_carry_loss_and_their_ends_do(self) -> None:
        rows, _ = self.rows(turns("Hei!", "Moi.", "What is my dog?", "Rekku."))
        self.assertEqual(rows, [("<s>[INST] Hei![/INST] Moi.</s>[INST] What is my dog?[/INST] Rekku.</s>", "Moi.</s> Rekku.</s>")])

    def test_a_template_that_moves_the_system_message_gets_a_row_for_each_answer_just_as_it_is_asked(self) -> None:
        rows, _ = self.rows(turns("Hei!", "Moi.", "What is my dog?", "Rekku.", system="Be kind."))
        self.assertEqual(
            rows,
            [
                ("<s>[INST] Be kind.\n\nHei![/INST] Moi.</s>", "Moi.</s>"),
                ("<s>[INST] Hei![/INST] Moi.</s>[INST] Be kind.\n\nWhat is my dog?[/INST] Rekku.</s>", "Rekku.</s>"),
            ],
        )

    def test_a_row_begins_with_the_very_tokens_that_the_model_is_asked_with(self) -> None:
        tokenizer = bases.tokenizer(self.base, None)
        messages = turns("Hyvää huomenta! 🏡", "Huomenta!", system="Olet ystävä.")
        row = Writer(tokenizer, 500).write([Conversation("line 1", messages, "a", "train")]).rows[0]
        asked = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        asked_tokens = tokenizer.backend_tokenizer.encode(asked, add_special_tokens=False).ids
        self.assertEqual(row.tokens[: len(asked_tokens)], asked_tokens)
        self.assertEqual(row.labels, [NO_LOSS] * len(asked_tokens) + row.tokens[len(asked_tokens) :])

    def test_another_template_can_be_given(self) -> None:
        rows, _ = self.rows(turns("Hei!", "Moi."), plain=True)
        self.assertEqual(rows, [("<s>[INST]Hei![/INST]Moi.</s>", "Moi.</s>")])

    def test_a_long_conversation_loses_its_oldest_turns_and_a_long_answer_is_left_out(self) -> None:
        rows, made = self.rows(turns("Hei! " * 30, "Moi.", "What is my dog?", "Rekku.", system="Be kind."), max_tokens=60)
        self.assertEqual(rows, [("<s>[INST] Be kind.\n\nWhat is my dog?[/INST] Rekku.</s>", "Rekku.</s>")])
        self.assertEqual((made.shortened, made.too_long), (1, 1))

    def test_turns_are_joined_as_the_companion_joins_them_when_it_asks(self) -> None:
        said = [
            {"role": role, "content": text}
            for role, text in [("assistant", "Hello!"), ("user", "Hei"), ("user", "you"), ("assistant", "Moi"), ("assistant", "Aino")]
        ]
        self.assertEqual(as_asked(said), turns("Hei\nyou", "Moi\nAino"))
        rows, made = self.rows(said[:1])
        self.assertEqual((rows, made.unasked), ([], 1))

    def test_a_conversation_that_the_template_refuses_is_named_by_its_line(self) -> None:
        (self.folder / "refuses.jinja").write_text("{{ raise_exception('no system message here') }}")
        writer = Writer(bases.tokenizer(self.base, self.folder / "refuses.jinja"), 500)
        with self.assertRaises(Refused) as refused:
            writer.write([Conversation("line 12", turns("Hei!", "Moi."), "a", "train")])
        self.assertIn("line 12: ", str(refused.exception))
        self.assertIn("no system message here", str(refused.exception))


if __name__ == "__main__":
    unittest.main()
