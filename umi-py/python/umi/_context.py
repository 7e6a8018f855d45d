"""`Context`, where Python is the natural place for it: printing."""

from __future__ import annotations

from umi._umi import BaseContext, _render
from umi.exceptions import InvalidInputError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Annotated, Any, Literal, TypeAlias

    from _typeshed import SupportsWrite

    Ref: TypeAlias = Annotated[str, "umi.Ref"]
    Layout: TypeAlias = Literal["insertion", "paths", "kind", "flat", "hybrid"]
    Format: TypeAlias = Literal["openai", "openai-responses", "anthropic", "gemini"]
    OnError: TypeAlias = Literal["raise", "placeholder"]
else:
    Ref = str


class Context(BaseContext):
    """A prompt of many parts: texts, files, images, bytes and addresses, in the order in which they were added.

        context = Context()
        context.add("You are a terse visual analyst.", role="system")
        photo = context.add(Path("photo.jpg"), metadata={"note": "hero shot"})
        context.print_tree()

    Every item has a short ref, such as `img_a1b2c3`, by which `get`, `remove` and `context[ref]` find it; a `for` loop
    gives the refs, `in` tells whether one is there, `len` counts them. A copy is a context of its own with the same
    session, refs and contents; a deep copy, and one that was pickled, also has images of its own. A context may be used
    from several threads at once.

    Args:
        session_id: The session's id, without a slash, at most 256 bytes; a new UUID of version 7 unless given.
    """

    __slots__ = ("__weakref__",)

    def print_tree(self, layout: Layout = "insertion", *, file: SupportsWrite[str] | None = None) -> None:
        """Print `tree(layout)`.

        Args:
            layout: `insertion`, `paths`, `kind`, `flat` or `hybrid`.
            file: Where to; standard output unless given.

        Raises:
            InvalidInputError: The layout is unknown; a `ValueError`.
        """
        print(self.tree(layout), file=file)

    def print_table(self, *, file: SupportsWrite[str] | None = None) -> None:
        """Print a table of the items.

        Args:
            file: Where to; standard output unless given.
        """
        print(self._table(), end="", file=file)

    def to_md(self, mode: Literal["metadata", "fast"] = "metadata") -> str:
        """Give a Markdown table of the items with what is in them.

        Args:
            mode: `metadata`: what the head of a file says: the beginning of a text, the dimensions and EXIF of an
                image, the pages of a document, the duration of a sound or a film; where that is nothing, the `summary`
                or `note` of the metadata. `fast`: everything that can be extracted without a model, up to 10,000
                characters an item.

        Raises:
            InvalidInputError: The mode is unknown; a `ValueError`.
        """
        if mode not in {"metadata", "fast"}:
            raise InvalidInputError(f"unknown mode `{str(mode)[:64]}`", hint="known modes: metadata, fast")
        return self._to_md(mode == "fast")

    def to_messages(
        self,
        format: Format = "openai",
        *,
        encoders: Mapping[str, str] | None = None,
        encoder_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        budget_tokens: int | None = None,
        on_error: OnError = "raise",
    ) -> list[Any]:
        """Give the messages of all items, as the SDK of a provider takes them.

        Every item begins with a text part of its ref, `[ref=img_a1b2c3] note: hero shot; tags: ["a"]`. Files are read
        and encoded in worker threads; what was encoded is kept for the next time. What is returned is the caller's own.

        Args:
            format: `openai` (chat completions), `openai-responses`, `anthropic` or `gemini`. The lists of the last two
                have no role for instructions, which are texts with a label there; see `to_request`.
            encoders: The names of encoders by kind, such as `{"image": "tile"}`; see `umi.encoders.list_encoders`.
            encoder_kwargs: The options of encoders by kind, such as `{"image": {"max_width": 768}}`.
            budget_tokens: The most tokens that all items may take, by an estimate. Images are scaled, texts are cut and
                items are left out, the least recent first; each time the text says so. Instructions are never cut.
            on_error: `raise`, or `placeholder` for a text in the place of an item that cannot be sent.

        Raises:
            InvalidInputError: An unknown format, encoder, kind or option; a damaged file; something that the format
                does not take. A `ValueError`, which names the ref.
            FileError: A file cannot be read; an `OSError`.
            CapacityError: A file is over a limit, or the budget is smaller than what may not be cut.
            FeatureNotBuiltError: A file takes a package that is not installed; it names the command.
        """
        messages: list[Any] = self._render("messages", format, encoders, encoder_kwargs, budget_tokens, on_error)
        return messages

    def to_request(
        self,
        format: Format = "openai",
        *,
        encoders: Mapping[str, str] | None = None,
        encoder_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        budget_tokens: int | None = None,
        on_error: OnError = "raise",
    ) -> dict[str, Any]:
        """Give the keyword arguments of a call of the provider's SDK, but for the model and its settings.

            client.messages.create(model="claude-haiku-4-5", max_tokens=1024, **context.to_request("anthropic"))

        They are `messages` for `openai`, `input` for `openai-responses`, `messages` and `system` for `anthropic`,
        `contents` and `config` (with `system_instruction`) for `gemini`. Takes and raises what `to_messages` does.
        """
        request: dict[str, Any] = self._render("request", format, encoders, encoder_kwargs, budget_tokens, on_error)
        return request

    def count_tokens(
        self,
        format: Format = "openai",
        *,
        encoders: Mapping[str, str] | None = None,
        encoder_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        budget_tokens: int | None = None,
        on_error: OnError = "raise",
    ) -> int:
        """Estimate the tokens that all items take with a provider.

        Texts by script, images by what the provider's documentation says of their size. Takes and raises what
        `to_messages` does.
        """
        tokens: int = self._render("tokens", format, encoders, encoder_kwargs, budget_tokens, on_error)
        return tokens

    def _render(  # noqa: PLR0917 - of this class alone
        self,
        what: str,
        format: str,
        encoders: Mapping[str, str] | None,
        encoder_kwargs: Mapping[str, Mapping[str, Any]] | None,
        budget_tokens: int | None,
        on_error: str,
    ) -> Any:
        names = None if encoders is None else dict(encoders)
        kwargs = None if encoder_kwargs is None else {kind: dict(given) for kind, given in encoder_kwargs.items()}
        return _render(self, what, format, names, kwargs, budget_tokens, on_error)
