import pytest

from flowstone_core.model.url_text import has_unescaped_at

WRONG = [
    "postgresql://u:p@ss@host/shop",
    "postgresql://u:p@ss:w@host:5432/shop",
    "postgresql://u:p@ss/w@host/shop",
    "postgresql://u:p@ss?w@host/shop",
    "postgresql://u:@@host/shop",
    "mysql://u/x:secret@host/shop",
    "mariadb://host:5432/shop?password=x@secret",
    "postgresql+psycopg://u:secret@host/my@shop",
]
RIGHT = [
    "",
    "shop",
    "sqlite:////srv/a@b:c@d.db",
    "postgresql:///shop?host=/tmp",
    "postgresql://host/shop",
    "postgresql://u@host:5432/shop",
    "postgresql://u@corp@host/shop",
    "postgresql://u@corp:secret@host/shop",
    "postgresql://u:p%40ss@host:5432/shop?sslmode=require",
    "postgresql://u:p/s?s#:s@host/shop",
    "postgresql://u@[::1]:5432/shop",
    "postgresql://host/shop?user=u&password=x@y",
]


@pytest.mark.parametrize("url", WRONG)
def test_S9_unescaped_at_is_found(url):
    assert has_unescaped_at(url)


@pytest.mark.parametrize("url", RIGHT)
def test_S9_url_without_unescaped_at_passes(url):
    assert not has_unescaped_at(url)
