import base64
import html
import json
import pickle
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.model.redaction import MASK, Redactor, looks_secret, secrets_of
from flowstone_core.model.safe_text import MESSAGE_LIMIT, describe

CANARY = "cAn@ry/+=&%<\"'\\ é€🎉\n\ttail"
FORMS = {
    "as it is": str,
    "URL path": quote,
    "URL part": lambda secret: quote(secret, safe=""),
    "URL part, small letters": lambda secret: quote(secret, safe="").replace("%C3", "%c3"),
    "form field": quote_plus,
    "Python": repr,
    "Python, ASCII": ascii,
    "Python, bytes": lambda secret: repr(secret.encode()),
    "JSON": json.dumps,
    "JSON, UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON of JavaScript": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "HTML": html.escape,
}
secrets = st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4 and "***" not in text)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_secret_is_redacted_in_every_form(form):
    text = Redactor([CANARY])(f"before {form(CANARY)} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert MASK in text
    assert "ry" not in text
    assert "tail" not in text


@given(secrets, st.sampled_from(list(FORMS.values())), st.text(), st.text())
def test_any_secret_is_redacted_in_every_form(secret, form, before, after):
    try:
        shown = form(secret)
    except UnicodeEncodeError:  # a lone surrogate has no such form
        return
    bare = form(secret.strip()).strip("\"'")
    assert bare not in Redactor([secret])(f"{before}{shown}{after}") or bare in MASK


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_P19_truncated_text_has_no_part_of_a_secret(form):
    redact = Redactor(["canary-secret-of-some-length"])
    shown = form("canary-secret-of-some-length")
    for before in range(MESSAGE_LIMIT - len(shown) - 5, MESSAGE_LIMIT + 5):
        assert "canary" not in describe(ValueError("x" * before + shown), redact)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "me", "a:?", "user name:"])
@pytest.mark.parametrize("secret", ["?>~canary~>?", "exactly8", CANARY.strip(), "~" * 20])
def test_secret_in_base64_is_redacted_at_any_offset(encode, before, secret):
    shown = encode(f"{before}{secret} and more".encode()).decode()
    text = Redactor([secret])(f"Basic {shown}")
    assert MASK in text
    # At most a character at each end has a bit of it.
    kept = len(text.replace(MASK, "")) - len("Basic ")
    assert kept <= len(encode(f"{before} and more".encode())) + 4


def test_base64_of_a_short_secret_is_kept():
    assert Redactor(["abcd"])(base64.b64encode(b"abcd").decode()) == "YWJjZA=="


@given(st.binary(max_size=20), st.binary(min_size=8, max_size=30), st.binary(max_size=20))
def test_any_secret_in_base64_is_redacted(before, secret, after):
    text = secret.hex()
    shown = base64.b64encode(before + text.encode() + after).decode()
    hidden = Redactor([text])(shown)
    assert MASK in hidden
    assert len(hidden.replace(MASK, "")) <= len(base64.b64encode(before + after)) + 4


TOKEN = "Zq9Xv7Kp0aB1cD2e"


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        (f"https://api.shop/hooks/{TOKEN}/x", TOKEN),
        (f"https://api.shop/hooks?sig={TOKEN}&page=2", TOKEN),
        ("https://api.shop/?api_key=hunter-two", "hunter-two"),
        ("https://api.shop/?token=a%2Fb%20c%2Bdef", "a/b c+def"),
        ("https://api.shop/?token=a+b+c+d+e", "a b c d e"),
        ("X-Api-Key: hunter-two", "hunter-two"),
        ("Authorization: Bearer hunter-two", "hunter-two"),
        (f"X-Any: {TOKEN}", TOKEN),
        ("Cookie: a=1; session-token=hunter-two", "hunter-two"),
        (f"Cookie: a={TOKEN}; b=2", TOKEN),
        ('{"who": [{"password": "hunter-two"}]}', "hunter-two"),
        (f'["{TOKEN}"]', TOKEN),
        ("user=me&password=hunter-two", "hunter-two"),
    ],
)
def test_secret_part_of_a_secret_is_redacted(secret, part):
    assert Redactor([secret])(f"sent {part}.") == "sent ***."


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("https://api.shop/reports?format=json&region=europe-west", "json of europe-west"),
        ("https://api.shop.example.com:8443/reports", "api.shop.example.com:8443"),
        ("Accept: application/json", "answered with application/json"),
        ("X-Api-Key: abc", "abc"),
        ('{"name": "daily report", "rows": 12345678901234567}', "daily report 12345678901234567"),
        ("{no json", "{no"),
        ("[" * 5_000, "[[["),
        ("correct horse battery", "horse"),
        ("https://[broken?token=", "https://[broken"),
    ],
)
def test_harmless_part_of_a_secret_is_kept(secret, text):
    assert Redactor([secret])(text) == text


def test_nested_secrets_are_redacted_longest_first():
    assert Redactor(["abcd", "abcd-efgh"])("abcd-efgh and abcd") == "*** and ***"
    assert Redactor(["abcd-efgh", "abcd"])("abcd-efgh and abcd") == "*** and ***"


def test_secret_with_trailing_newline_is_redacted():
    assert Redactor(["token-1234\n"])("sent token-1234.") == "sent ***."


def test_short_values_are_kept():
    assert Redactor(["abc", "", "a\n\n\n\n"])("abcabc a") == "abcabc a"


def test_secret_with_regex_characters_is_redacted():
    assert Redactor([".*.*", "a|b|c"])("anything a b") == "anything a b"


def test_text_without_secrets_is_unchanged():
    assert Redactor()("nothing to hide at 10:30@home") == "nothing to hide at 10:30@home"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:hunter2@db/x", "postgresql+psycopg://me:***@db/x"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("amqp://me:hun@ter2@mq/", "amqp://me:***@mq/"),
        ("http://a:hunter2@b http://c:hunter2@d", "http://a:***@b http://c:***@d"),
        ("http://localhost:9000/bucket/key@2x.png", "http://localhost:9000/bucket/key@2x.png"),
        ("http://me@localhost:9000/", "http://me@localhost:9000/"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
    ],
)
def test_passwords_in_urls_are_redacted(url, shown):
    assert Redactor()(f"cannot reach '{url}'") == f"cannot reach '{shown}'"


@pytest.mark.parametrize("piece", ["a", "x://", "://a:", "%2", "\\", "canary-secre", "://a:b"])
def test_P19_ten_megabytes_are_redacted_quickly(piece):
    redact = Redactor(["canary-secret", "other/secret"])
    began = time.process_time()
    redact(piece * (10_000_000 // len(piece)))
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "name",
    [
        "password", "db_password", "PASSWD", "passphrase", "secret_key", "client_secret", "token",
        "sas_token", "credentials", "api_key", "apikey", "private_key", "aws_secret_access_key",
        "access_key", "authorization", "auth", "cookie", "set_cookie", "x_signature",
    ],
)  # fmt: skip
def test_looks_secret_accepts_secret_names(name):
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["bucket", "key", "keys", "password_file", "path", "prefix", ""])
def test_looks_secret_rejects_other_names(name):
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("API_TOKEN", "hunter2", True),
        ("PGPASSWORD", "hunter2", True),
        ("AWS_SECRET_ACCESS_KEY", "hunter2", True),
        ("DB_PASSWORD", "12345678", True),
        ("API_TOKEN", "short", False),
        ("TOKEN_TTL", "864000", False),
        ("TOKEN_FILE", "/run/secrets/token", False),
        ("GIT_AUTHOR", "Jane Doe", False),
        ("AUTHOR_NAME", "Jane Doe", False),
        ("AUTHORIZATION", "Bearer x", True),
        ("AUTH", "hunter2", True),
        ("HOME", "/home/jane", False),
        ("STRIPE_KEY", "sk_live_998877", True),
        ("GITHUB_PAT", "ghp_112233445566", True),
        ("MYSQL_PWD", "hunter22", True),
        ("JWT", "eyJhbGciOiJub25lIn0", True),
        ("SENTRY_DSN", "https://abcd1234@sentry.example/1", True),
        ("PARTITION_KEY", "order_id", False),
        ("SSH_KEY", "/home/jane/.ssh/id_ed25519", False),
        ("OLDPWD", "/srv/shop2025", False),
    ],
)
def test_N9_variable_is_secret_by_its_name(name, value, secret):
    assert list(secrets_of({name: value})) == ([value] if secret else [])


def test_N9_password_in_a_url_of_the_environment_is_secret():
    found = secrets_of({"DATABASE": "postgres://me:hunter%2Ftwo@host/db"})
    assert set(found) == {"hunter%2Ftwo", "hunter/two"}
    assert not list(secrets_of({"DATABASE": "postgres://postgres:postgres@host/db"}))
    assert not list(secrets_of({"DATABASE": "postgres://me:short@host/db"}))


def test_N9_added_secret_is_hidden_from_then_on():
    redact = Redactor()
    assert redact("key-4711") == "key-4711"
    redact.add("key-4711")
    assert redact("key-4711") == "***"
    redact.add("key-4711-long?token=Zq9xv7Kp-33")
    assert redact("key-4711-long?token=Zq9xv7Kp-33 and Zq9xv7Kp-33") == "*** and ***"
    copy = pickle.loads(pickle.dumps(redact))  # noqa: S301 - as for a child process
    assert copy("key-4711") == "***"
