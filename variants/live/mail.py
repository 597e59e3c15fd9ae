"""A patch series as mail: one text with plain diffs, in the order of the series."""

import re
from email import message_from_string, policy
from email.message import EmailMessage
from typing import Final, NamedTuple

COMMIT: Final = re.compile(r"^(?=From \S+ .*:\d\d \d{4}$|commit [0-9a-f]{40}\b)", re.MULTILINE)
DIFF: Final = re.compile(r"^(?:diff --git |--- \S.*\n\+\+\+ \S)", re.MULTILINE)
NUMBER: Final = re.compile(r"\[[^\]]*\b0*(\d+)/0*\d+\]")
REPLY: Final = re.compile(r"\s*re:", re.IGNORECASE)
ENCODED: Final = ("base64", "quoted-printable")


class Message(NamedTuple):
    """One commit of a series. number: of `[PATCH 2/3]`; -1 if the subject has none."""

    text: str
    number: int
    reply: bool


def commits(text: str) -> list[str]:
    """The diffs of a series one by one: of `git format-patch`, `git log -p`, a mailbox.

    In each, names of files are those before and after it. Covers and replies are left out, as they
    are comments; mails that came out of order are put in the order that their subjects tell.
    """
    found = [message(one) for one in COMMIT.split(text)]
    with_diff = [one for one in found if DIFF.search(one.text) and not one.reply]
    if all(one.number >= 0 for one in with_diff):
        with_diff.sort(key=lambda one: one.number)
    return [one.text for one in with_diff]


def message(text: str) -> Message:
    """What a commit's text holds; a mail's body is decoded if it has to be."""
    if not text.startswith("From "):
        return Message(text, -1, reply=False)
    mail = message_from_string(text.partition("\n")[2], policy=policy.default)
    assert isinstance(mail, EmailMessage)
    subject = " ".join(str(mail["Subject"] or "").split())
    number = NUMBER.search(subject)
    encoded = any(str(part["Content-Transfer-Encoding"]).lower() in ENCODED for part in mail.walk())
    if encoded or mail.is_multipart():
        parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
        text = "\n".join(str(part.get_content()).replace("\r\n", "\n") for part in parts)
    return Message(text, int(number[1]) if number else -1, reply=bool(REPLY.match(subject)))
