"""`Context`, where Python is the natural place for it: printing, stores, and the choice between items and a scan."""

from __future__ import annotations

from umi._saved import is_there, saved_item, store_folder
from umi._umi import (
    BaseContext,
    LanguageModelProvider,
    _gc,
    _list_encoders,
    _load,
    _render,
    _save,
)
from umi.exceptions import InvalidInputError, NotFoundError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Annotated, Any, Literal, NoReturn, Protocol, Self, TypeAlias, overload

    from _typeshed import SupportsWrite

    from umi._scan import DirectoryContext
    from umi._umi import Operation

    Ref: TypeAlias = Annotated[str, "umi.Ref"]
    Layout: TypeAlias = Literal["insertion", "paths", "kind", "flat", "hybrid"]
    Mode: TypeAlias = Literal["metadata", "fast", "accurate"]
    Format: TypeAlias = Literal["openai", "openai-responses", "anthropic", "gemini"]
    OnError: TypeAlias = Literal["raise", "placeholder"]

    class _ContentOf(Protocol):
        """`get` of a context."""

        def __call__(self, ref: str, /) -> Any: ...

    class _SavedItemOf(Protocol):
        """`get` of the class."""

        def __call__(
            self,
            ref: str,
            /,
            *,
            session_id: str | None = None,
            db: str | os.PathLike[str] | None = None,
            user: str | None = None,
        ) -> dict[str, Any] | None: ...

    class _Get:
        """The two forms of `get`."""

        @overload
        def __get__(self, instance: None, owner: type[Context], /) -> _SavedItemOf: ...
        @overload
        def __get__(self, instance: Context, owner: type[Context], /) -> _ContentOf: ...
        def __get__(self, instance: Context | None, owner: type[Context], /) -> Any: ...
else:
    Ref = str

    def overload(function: Any) -> Any:
        """Stand for `typing.overload`."""
        return function


class _OtherModeError(RuntimeError, AttributeError):
    """A method or property of the other mode was asked for: for `hasattr` it is not there."""


class OfOtherMode:
    """A method or property that only the other of the two has: a context of items, and the scan of a root.

    A `__getattr__` in its place would make every other attribute take twice as long.
    """

    __slots__ = ("_message",)

    def __init__(self, message: str) -> None:
        self._message = message

    def __get__(self, instance: object, owner: object) -> OfOtherMode:
        if instance is None:
            return self
        raise _OtherModeError(self._message)

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Stand for a method of the class."""
        raise _OtherModeError(self._message)


class _ContextType(type):
    """The class of `Context`, by which `Context.get` is another function than `get` of a context, at no cost to it."""

    @property
    def get(cls) -> _SavedItemOf:
        """Give an item of a saved context."""
        return saved_item


class Context(BaseContext, metaclass=_ContextType):
    """A prompt of many parts: texts, files, images, bytes and addresses, in the order in which they were added.

        context = Context()
        context.add("You are a terse visual analyst.", role="system")
        photo = context.add(Path("photo.jpg"), metadata={"note": "hero shot"})
        context.print_tree()

    Every item has a short ref, such as `img_a1b2c3`, by which `get`, `remove` and `context[ref]` find it; a `for` loop
    gives the refs, `in` tells whether one is there, `len` counts them. A copy is a context of its own with the same
    session, refs and contents; a deep copy, and one that was pickled, also has images of its own. A context may be used
    from several threads at once.

    With a root it is the scan of a folder, a `DirectoryContext`: see there.

    Args:
        root: A folder, or one file, to scan; `~` is the home folder.
        session_id: The session's id, without a slash, at most 256 bytes; a new UUID of version 7 unless given.
        n_threads: The threads of a scan, 1 to 256; one for each core up to twelve unless given.
        no_ignore: Whether a scan lists files too that a `.gitignore`, `.ignore` or `.git/info/exclude` names.
        llm: What tells of the items in `to_md(mode="accurate")`. A copy has it too; what was pickled or saved has none.

    Raises:
        InvalidInputError: A session id or a number of threads that is not allowed; a `ValueError`.
        FileError: There is nothing at the root (a `FileNotFoundError`), or it cannot be listed; an `OSError`.
    """

    __slots__ = ("__weakref__", "_changed", "_llm")

    if TYPE_CHECKING:
        _changed: list[str]
        _llm: LanguageModelProvider
        get: _Get

    # as `Context.get`, by the name that it had
    resolve = staticmethod(saved_item)

    @property
    def changed(self) -> list[str]:
        """The refs of files that were gone, or had another content than when they were saved, when `load` read them."""
        return list(getattr(self, "_changed", ()))

    @property
    def llm(self) -> LanguageModelProvider | None:
        """What tells of the items in `to_md(mode="accurate")` where the call names no other."""
        return getattr(self, "_llm", None)

    @llm.setter
    def llm(self, llm: LanguageModelProvider | None) -> None:
        if llm is None:
            if hasattr(self, "_llm"):
                del self._llm
        elif isinstance(llm, LanguageModelProvider):
            self._llm = llm
        else:
            raise TypeError(f"expected LanguageModelProvider, got {type(llm).__name__}")

    def save(self, db: str | os.PathLike[str] | None = None, user: str | None = None) -> None:
        """Save the context, in the place of what was saved of its session.

        Roles, order, metadata, addresses and the hashes of files go into the store's ledger; bytes and images into
        files called by the hash of their content, one for however many contexts. An image of Pillow is kept with its
        depth, palette, EXIF and resolution, as PNG or (modes `F`, `I`, `CMYK`, `LAB`, `PA`, `YCbCr`) as TIFF, other
        modes with 8 bits as `RGB`; of several frames the current one; an array as `.npy`. Files stay where they are.
        Everything is on the disk when this returns; nothing is saved where it raises.

        Args:
            db: The store's folder, which may be that of a `Memory`. Unless given, `contexts` in the user's data folder:
                `UMI_DATA_DIR`, else `umi` in `XDG_DATA_HOME` or `~/.local/share`.
            user: Whose context it is: nobody else finds it.

        Raises:
            FileError: A file cannot be read; an `OSError`. One that is gone is saved, and `load` tells of it.
            InvalidInputError: An image gives no pixels; a `ValueError`, which names the ref.
            StorageError: The store could not be written.
        """
        _save(self, store_folder(db), user)

    @classmethod
    def load(cls, session_id: str, db: str | os.PathLike[str] | None = None, user: str | None = None) -> Self:
        """Give a saved context, whose `changed` lists the files that are gone or have another content by now.

        Images come back as images of Pillow and arrays as arrays of NumPy where these are installed, else as the bytes
        of what was kept.

        Args:
            session_id: The session of the context.
            db: The store's folder, as for `save`.
            user: Whose context it is.

        Raises:
            NotFoundError: The user has saved no such context there; a `KeyError`.
            CorruptStoreError: The content of an item is lost.
            StorageError: The store could not be read.
        """
        context = cls(session_id=session_id)
        folder = store_folder(db)
        if not is_there(folder):
            hint = "save it first, with the same `user` and store"
            raise NotFoundError(f"no context is saved under the session `{session_id[:64]}`", hint=hint)
        context._changed = _load(context, folder, user)
        return context

    @classmethod
    def gc(cls, db: str | os.PathLike[str] | None = None) -> int:
        """Remove the files of contents that nothing in the store names any more, but those of the last hour.

        Args:
            db: The store's folder, as for `save`.

        Returns:
            How many were removed.
        """
        folder = store_folder(db)
        return _gc(folder) if is_there(folder) else 0

    @overload
    def __new__(
        cls, root: None = None, *, session_id: str | None = None, llm: LanguageModelProvider | None = None
    ) -> Self: ...
    @overload
    def __new__(  # noqa: F811 - an overload
        cls,
        root: str | os.PathLike[str],
        *,
        session_id: str | None = None,
        n_threads: int | None = None,
        no_ignore: bool = False,
    ) -> DirectoryContext: ...
    def __new__(  # noqa: F811 - what is overloaded
        cls,
        root: str | os.PathLike[str] | None = None,
        *,
        session_id: str | None = None,
        n_threads: int | None = None,
        no_ignore: bool = False,
        llm: LanguageModelProvider | None = None,
    ) -> Any:
        """Make a context of items, or the scan of a root."""
        if root is None:
            if n_threads is not None or no_ignore:
                raise TypeError("n_threads and no_ignore are for the scan of a root")
            made = super().__new__(cls, session_id=session_id)
            if llm is not None:
                made.llm = llm
            return made
        if llm is not None:
            raise TypeError("llm is for a context of items: give it to that of to_context()")
        from umi._scan import DirectoryContext  # noqa: PLC0415 - it is made of this class

        return DirectoryContext(root, session_id=session_id, n_threads=n_threads, no_ignore=no_ignore)

    def __dir__(self) -> list[str]:
        """Leave out what is of the other mode."""
        return [name for name in super().__dir__() if not isinstance(getattr(type(self), name, None), OfOtherMode)]

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

    def to_md(self, mode: Mode = "metadata", *, llm: LanguageModelProvider | None = None) -> str:
        """Give a Markdown table of the items with what is in them.

        Args:
            mode: `metadata`: what the head of a file says: the beginning of a text, the dimensions and EXIF of an
                image, the pages of a document, the duration of a sound or a film; where that is nothing, the `summary`
                or `note` of the metadata. `fast`: everything that can be extracted without a model, up to 10,000
                characters an item. `accurate`: as `fast`, with captions of images and films and summaries of documents
                and of texts of more than 1,000 characters, by a language model. At most eight requests run at once, and
                what a model said of a content is kept. Where it fails, the row says why and has what `fast` has.
            llm: The model of `accurate`; that of the context unless given.

        Raises:
            InvalidInputError: The mode is unknown, or `accurate` without a model; a `ValueError`.
        """
        if mode == "accurate":
            return self._accurate(llm).wait()
        if mode not in {"metadata", "fast"}:
            raise InvalidInputError(f"unknown mode `{str(mode)[:64]}`", hint="known modes: metadata, fast, accurate")
        return self._to_md(mode == "fast")

    async def to_md_async(self, mode: Mode = "metadata", *, llm: LanguageModelProvider | None = None) -> str:
        """As `to_md()`, to be awaited: the event loop goes on meanwhile. Cancelling it stops the requests."""
        if mode == "accurate":
            return await self._accurate(llm)
        import asyncio  # noqa: PLC0415 - whoever awaits has imported it

        return await asyncio.to_thread(self.to_md, mode)

    def _accurate(self, llm: LanguageModelProvider | None) -> Operation[str]:
        model = self.llm if llm is None else llm
        if model is None:
            hint = 'give one to the call, to_md(mode="accurate", llm=...), or to the context, Context(llm=...)'
            raise InvalidInputError("the mode `accurate` takes a language model", hint=hint)
        return self._to_md_accurate(model)

    def __reduce__(self) -> tuple[Any, ...]:
        restore, arguments = super().__reduce__()
        changed = self.changed
        return (restore, arguments, (None, {"_changed": changed})) if changed else (restore, arguments)

    def __copy__(self) -> Self:
        restore, arguments = super().__reduce__()
        copied: Self = self._as_this(restore(*arguments))
        return copied

    def __deepcopy__(self, memo: dict[int, Any], /) -> Self:
        from copy import deepcopy  # noqa: PLC0415 - whoever copies has imported it

        restore, arguments = super().__reduce__()
        copied: Self = self._as_this(restore(*deepcopy(arguments, memo)))
        return copied

    def _as_this(self, made: Any) -> Any:
        """Give a copy what this one has beside its items: the model, which a pickle cannot hold, among it."""
        made.llm = self.llm
        made._changed = self.changed  # noqa: SLF001 - it is of this class
        return made

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
            encoders: The names of encoders by kind, such as `{"image": "tile"}`; see `umi.encoders.list_encoders`. A
                name may begin with its kind: `image-tile`.
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
        names = None if encoders is None else {kind: _encoder_name(kind, name) for kind, name in dict(encoders).items()}
        kwargs = None if encoder_kwargs is None else {kind: _options(given) for kind, given in encoder_kwargs.items()}
        return _render(self, what, format, names, kwargs, budget_tokens, on_error)


for _name in (
    "cat",
    "errors",
    "files",
    "filter",
    "global_ref",
    "grep",
    "head",
    "info",
    "num_files",
    "ref_for",
    "root",
    "show",
    "sql",
    "tail",
    "to_arrow",
    "to_context",
    "to_pandas",
    "to_polars",
):
    _message = f"Context.{_name} requires a directory-scan context. Construct it with Context(root)"
    setattr(Context, _name, OfOtherMode(_message))


def _encoder_name(kind: str, name: Any) -> Any:
    """Take the kind off a name that begins with it, such as `image-resize`, unless an encoder is called so."""
    start = f"{kind}-"
    if not isinstance(name, str) or not name.startswith(start):
        return name
    known, short = _list_encoders(), name.removeprefix(start)
    return short if (kind, name) not in known and (kind, short) in known else name


def _options(given: Any) -> dict[str, Any]:
    try:
        return dict(given)
    except (TypeError, ValueError) as error:
        raise TypeError(f"expected the options of an encoder as a dict, got {type(given).__name__}") from error


def items_of(context: Context) -> BaseContext:
    """Give a context of items: of a scan, one that is made of its files."""
    return context.to_context() if hasattr(context, "to_context") else context


def messages_of(items: BaseContext, format: str) -> list[Any]:
    """Give the messages of what a memory shows; a text stands for what cannot be sent: a damaged image costs none."""
    messages: list[Any] = _render(items, "messages", format, None, None, None, "placeholder")
    return messages
