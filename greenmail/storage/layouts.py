"""From the settings of an account to its layout: Maildir++ or nested directories."""

from greenmail.storage.filesystem import Files
from greenmail.storage.folder_names import Encoding, Layout, detect_encoding, guess_encoding
from greenmail.storage.folders import Folders
from greenmail.storage.maildir_settings import MaildirSettings
from greenmail.storage.nested import NestedFolders
from greenmail.storage.places import Places


def layout_of(files: Files, settings: MaildirSettings, places: Places) -> Layout:
    """Where mailboxes are and how they are called. Raises CANNOT if names are in two encodings, and none is set."""
    plain = with_encoding(settings, places, Encoding.UTF8)
    if settings.mailbox_names != "auto":
        encoding = Encoding(settings.mailbox_names)
    elif places.is_nested:
        entries = [below.rpartition(b"/")[2] for below, _ in NestedFolders(files, plain, places.hidden).walk()]
        encoding = guess_encoding(places.root, entries)
    else:
        encoding = detect_encoding(files, places.root)
    return with_encoding(settings, places, encoding)


def with_encoding(settings: MaildirSettings, places: Places, encoding: Encoding) -> Layout:
    """The layout, with names in this encoding."""
    return Layout(
        root=places.root,
        separator=settings.separator,
        prefix=settings.prefix,
        encoding=encoding,
        name_escape=settings.name_escape,
        is_nested=places.is_nested,
        inner=places.inner,
    )


def folders_of(files: Files, layout: Layout, places: Places) -> Folders | NestedFolders:
    """The directories of that layout."""
    return NestedFolders(files, layout, places.hidden) if layout.is_nested else Folders(files, layout)
