"""Errors that a user can act on: one sentence that names the file or option and the remedy."""


class EmoTalkError(Exception):
    """Base of all errors that EmoTalk raises on purpose. `exit_code` is the command line's."""

    exit_code = 1


class InputError(EmoTalkError):
    """A file that the user gave cannot be used (missing, broken, no face in it, ...)."""


class UsageError(EmoTalkError):
    """An option or argument has a value outside its documented range."""

    exit_code = 2


class WeightsError(EmoTalkError):
    """A weight file is missing, damaged or made for another version or emotion space."""
