"""Makes token rows of conversations in which only the assistant's turns carry loss.

A conversation becomes one row if the base's chat template writes earlier turns the same however the conversation goes on. Templates that
do not (Mistral v0.3 puts the system message into the last turn of the user) get one row for each turn of the assistant: the prompt just
as it is when the model is asked, then the answer. A row that is too long loses its oldest turns, never its end.
"""

from dataclasses import dataclass

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerFast

from conversations import Conversation, Message, Refused

# The label that PyTorch's cross entropy leaves out.
NO_LOSS = -100


@dataclass(frozen=True)
class Example:
    """Tokens of one row, and for each the label: the token itself, or NO_LOSS."""

    tokens: list[int]
    labels: list[int]


@dataclass
class Examples:
    """Rows of one split."""

    rows: list[Example]
    # Answers left out, because they do not fit with the turn that they answer.
    too_long: int = 0
    # Rows that lost their oldest turns.
    shortened: int = 0
    # Conversations in which the assistant answers no question.
    unasked: int = 0

    def loss_tokens(self) -> int:
        """Tokens that carry loss."""
        return sum(label != NO_LOSS for row in self.rows for label in row.labels)


class Writer:
    """Writes conversations as the base's chat template does."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def write(self, conversations: list[Conversation]) -> Examples:
        """Makes the rows of all conversations, in order.

        Raises Refused naming the line of a conversation that the template refuses.
        """
        made = Examples([])
        for conversation in conversations:
            try:
                self.rows(as_asked(conversation.messages), made)
            except (TemplateError, ValueError) as error:
                raise Refused(f"{conversation.place}: the base's chat template refuses the conversation: {error}") from None
        return made

    def rows(self, messages: list[Message], made: Examples) -> None:
        """Adds the rows of one conversation."""
        answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        if not answers:
            made.unasked += 1
            return
        if whole := self.whole(messages, answers):
            made.rows.append(whole)
            return
        for at in answers:
            answer = self.answer(messages, at)
            kept, prompt = 0, self.prompt(messages[:at])
            while len((row := self.row([(prompt, False), (answer, True)])).tokens) > self.max_tokens:
                # The oldest question and its answer go; the system message stays.
                kept += 2
                system = [message for message in messages[:1] if message["role"] == "system"]
                rest = messages[len(system) + kept : at]
                if not rest:
                    made.too_long += 1
                    break
                prompt = self.prompt(system + rest)
            else:
                made.rows.append(row)
                made.shortened += kept > 0

    def whole(self, messages: list[Message], answers: list[int]) -> Example | None:
        """All turns in one row, or None if that is not what the model sees when it is asked, or too long."""
        pieces: list[tuple[str, bool]] = []
        before = ""
        for at in answers:
            prompt, after = self.prompt(messages[:at]), self.render(messages[: at + 1])
            if not prompt.startswith(before) or not after.startswith(prompt):
                return None
            pieces += [(prompt[len(before) :], False), (after[len(prompt) :], True)]
            before = after
        row = self.row(pieces)
        return row if len(row.tokens) <= self.max_tokens else None

    def answer(self, messages: list[Message], at: int) -> str:
        """What the template writes for one turn of the assistant, after the prompt.

        Without the system message, because a template may move it when a turn is added.
        """
        plain = [message for message in messages[: at + 1] if message["role"] != "system"]
        before, after = self.prompt(plain[:-1]), self.render(plain)
        if not after.startswith(before) or after == before:
            raise ValueError("it writes earlier turns differently when an answer is added; give another template with --template")
        return after[len(before) :]

    def prompt(self, messages: list[Message]) -> str:
        """The text after which the model answers."""
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def render(self, messages: list[Message]) -> str:
        """The text of a conversation that ends with an answer."""
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))

    def row(self, pieces: list[tuple[str, bool]]) -> Example:
        """Tokens of pieces of text, read as one, as the companion reads a prompt. A token that spans question and answer carries no loss."""
        spans: list[tuple[int, int]] = []
        text = ""
        for piece, learned in pieces:
            if learned:
                spans.append((len(text), len(text) + len(piece)))
            text += piece
        encoded = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        within = [any(start <= first and last <= end for start, end in spans) for first, last in encoded.offsets]
        return Example(encoded.ids, [token if learned else NO_LOSS for token, learned in zip(encoded.ids, within, strict=True)])


def as_asked(messages: list[Message]) -> list[Message]:
    """Brings a conversation into the form in which the companion asks: turns of one speaker in a row become one (inference/src/prompt.rs),
    and what the assistant said before the first question is left out, because templates want the user to begin."""
    system = [message for message in messages[:1] if message["role"] == "system"]
    joined: list[Message] = []
    for message in messages[len(system) :]:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {"role": message["role"], "content": joined[-1]["content"] + "\n" + message["content"]}
        elif joined or message["role"] == "user":
            joined.append(message)
    return system + joined
