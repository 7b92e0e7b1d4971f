"""The one layout in which a model sees an instruction, in training, in the chat template and in evaluation."""

from typing import TYPE_CHECKING, Any

from selfcodealign import tokens
from selfcodealign.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions."
)
"""First sentence of every prompt (the reference's `prompt_template.py`; its model cards quote it)."""

CHAT_TEMPLATE = (
    "{{ bos_token if bos_token is defined and bos_token else '' }}"
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] }}{% set turns = messages[1:] %}"
    "{% else %}"
    "{{ '" + SYSTEM + "' }}{% set turns = messages %}"
    "{% endif %}"
    "{% for message in turns %}"
    "{% if message['role'] == 'user' %}"
    "{{ '\n\n### Instruction\n' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '\n\n### Response\n' }}{{ message['content'] + eos_token }}"
    "{% else %}"
    "{{ raise_exception('the roles of this model are system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\n### Response\n' }}{% endif %}"
)
"""The same layout as a chat template, in plain Jinja: readers other than transformers know no further tags."""


def prompt(instruction: str) -> str:
    """Render all that precedes the response, without the token that begins a sequence."""
    return f"{SYSTEM}\n\n### Instruction\n{instruction}\n\n### Response\n"


def encoded_prompt(tokenizer: "PreTrainedTokenizerBase", instruction: str) -> list[int]:
    """Return the tokens of all that precedes the response: the begin token, if there is one, and the prompt."""
    first: Any = tokenizer.bos_token_id
    begin = [] if first is None else [first]
    return begin + tokens.text_tokens(tokenizer, prompt(instruction))


def install(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Set the chat template on a tokenizer and prove that it renders the training prompt.

    Raises:
        UserError: the template renders something else with this tokenizer; nothing trained with it could be served.
    """
    tokenizer.chat_template = CHAT_TEMPLATE
    asked = [{"role": "user", "content": "Add two numbers."}]
    try:
        rendered = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        raise UserError(
            f"the chat template cannot be set on this model's tokenizer ({error}); use another base model"
        ) from error
    expected = str(tokenizer.bos_token or "") + prompt("Add two numbers.")
    if rendered != expected:
        raise UserError(
            f"with this model's tokenizer the chat template renders {rendered!r}, but training uses {expected!r}; "
            "use another base model"
        )
    answered = [*asked, {"role": "assistant", "content": "def add(a, b):\n    return a + b"}]
    served: Any = list(tokenizer.apply_chat_template(answered, tokenize=True, return_dict=False))
    trained: Any = [
        *encoded_prompt(tokenizer, "Add two numbers."),
        *tokens.continuation(tokenizer, answered[-1]["content"]),
        tokenizer.eos_token_id,
    ]
    if served != trained:
        pairs = zip(served, trained, strict=False)
        place = next((number for number, (one, other) in enumerate(pairs) if one != other), len(trained))
        raise UserError(
            f"from token {place} on, this model's tokenizer reads a chat as {tokenizer.decode(served[place:])!r}, but "
            f"prompt and response apart as {tokenizer.decode(trained[place:])!r}: use another base model"
        )
