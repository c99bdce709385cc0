import re

import pytest
from sqlalchemy import create_engine

from flowstone_core import Flowstone, Pipeline, ValidationError
from flowstone_core.store.store_url import masked, parse_url
from tests.model.test_url_text import WRONG


@pytest.mark.parametrize("url", [url for url in WRONG if url.startswith("postgresql")])
def test_S9_store_password_with_at_is_refused_unshown(url):
    expected = "unescaped '@' (write @ in a user, a password or a query as %40)"
    for refuse in (parse_url, lambda text: Flowstone(Pipeline("shop"), store=text).status()):
        with pytest.raises(ValidationError) as caught:
            refuse(url)
        assert re.fullmatch(r"(invalid store URL|store): (.*)", str(caught.value))[2] == expected


def test_S9_escaped_at_is_part_of_the_password():
    url = parse_url("postgresql://u:p%40ss@host/my%40shop")
    assert (url.password, url.host, url.database) == ("p@ss", "host", "my@shop")
    assert "ss@" not in masked(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:/u:c4n4ry@host/shop", "'***'"),
        ("u:c4n4ry@host/shop", "'***'"),
        ("postgresql://u@c4n4ry:host/shop", "'postgresql://***'"),
        ("mysql://u:c4n4ry@host/shop", "'mysql://u:***@host/shop'"),
        ("mysql://host/shop?password=c4n4ry", "'mysql://host/shop?***'"),
        ("shop.db", "'shop.db'"),
    ],
)
def test_S9_invalid_store_url_is_shown_without_secrets(url, shown):
    with pytest.raises(ValidationError) as caught:
        parse_url(url)
    assert f"invalid store URL {shown}: " in str(caught.value)


@pytest.mark.parametrize("address", ["me:@host/shop", "me@host/shop", "host/shop"])
def test_url_without_a_password_is_shown_as_it_is(address):
    assert masked(parse_url(f"postgresql://{address}")) == f"postgresql://{address}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql://me:hunter2@db1,db2:5433/shop?target_session_attrs=read-write",
            "postgresql://me:***@/shop?host=db1%2Cdb2&port=%2C5433&target_session_attrs=read-write",
        ),
        ("postgres://db1:5432,db2:5433/shop", "postgresql:///shop?host=db1%2Cdb2&port=5432%2C5433"),
    ],
)
def test_D13_url_may_name_several_hosts(text, shown):
    url = parse_url(text)
    assert masked(url) == shown
    _, options = create_engine(url).dialect.create_connect_args(url)
    assert options["host"].split(",") == ["db1", "db2"]
    assert options["dbname"] == "shop"
