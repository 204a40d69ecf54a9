"""Secrets of addresses, kept out of what is printed and stored."""

import re
from urllib.parse import quote, unquote, unquote_plus

_BREAKS = re.compile(
    r"[/:@?&=;#,\s]+"
)  # where a driver may take an address apart, and quote a part of it
LEAST = 3  # shorter parts would be masked in every word


def masked(text: str, *secrets: str) -> str:
    """A text in which secrets can be read neither whole nor in part, neither encoded nor decoded.

    >>> masked('no host "w0rd@db", tried p%40ss', "p%40ss:w0rd")
    'no host "***@db", tried ***'
    """
    readings = {
        reading for secret in secrets for reading in (secret, unquote(secret), unquote_plus(secret))
    }
    parts = {part for reading in readings for part in (reading, *_BREAKS.split(reading))}
    forms = {form for part in parts for form in (part, quote(part, safe="")) if len(part) >= LEAST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def database_secrets(address: str) -> list[str]:
    """What of a database's address is secret: its password, and what comes after a question mark.

    >>> database_secrets("postgresql://ann:p@ss/word@host:5432/shop?sslkey=k")
    ['p@ss/word', 'sslkey=k']
    """
    place, _, options = address.partition("?")
    password = re.search(r"://[^:/@]*:(.*)@", place)
    return [secret for secret in (password[1] if password else "", options) if secret]
