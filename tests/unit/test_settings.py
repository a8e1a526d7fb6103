"""Read settings from the environment. An error names the variable."""

import pytest

from chalicelib import settings
from chalicelib.errors import SettingsError
from chalicelib.projections import READ_MODEL, SQL


def test_only_the_stage_is_required():
    found = settings.read({"STAGE": "dev"})

    assert (found.allowed_origin, found.max_increment, found.shards, found.batching_window_s) == (("*",), 1000, 1, 1)


def test_names_of_tables_and_queues_follow_from_the_stage():
    found = settings.read({"STAGE": "dev"})

    assert found.event_log_table == "counter-dev-event-log"
    assert found.counters_table == "counter-dev-counters"
    assert found.archive_table == "counter-dev-archive"
    assert READ_MODEL.queue(found.stage) == "counter-dev-projection"
    assert READ_MODEL.dead_letter_queue(found.stage) == "counter-dev-projection-dead-letter"
    assert SQL.queue(found.stage) == "counter-dev-sql-projection"
    assert SQL.dead_letter_queue(found.stage) == "counter-dev-sql-projection-dead-letter"


def test_projectors_are_unlimited_by_default():
    assert settings.read({"STAGE": "dev"}).projectors is None
    assert settings.read({"STAGE": "dev", "PROJECTORS": "2"}).projectors == 2


DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("variables", "counters"),
    [
        ({"STAGE": "local"}, ("*",)),
        ({"STAGE": "local", "COUNTERS": "visits"}, ("visits",)),
        ({"STAGE": "dev"}, None),
        ({"STAGE": "dev", "COUNTERS": "*"}, ("*",)),
        ({"STAGE": "dev", "COUNTERS": ""}, ()),
        ({"STAGE": "dev", "COUNTERS": " "}, ()),
        ({"STAGE": "dev", "COUNTERS": "visits,likes-*"}, ("visits", "likes-*")),
        ({"STAGE": "dev", "COUNTERS": " visits, likes-* ,visits"}, ("visits", "likes-*")),
    ],
)
def test_counters_are_all_in_stage_local_and_chosen_elsewhere(variables, counters):
    assert settings.read(variables).counters == counters


@pytest.mark.parametrize("text", [",", "visits,", "a b", "a/b", "visits;likes", "a" * 65, "[ab]", "a?", "ä"])
def test_invalid_counters_are_refused_in_one_line(text):
    with pytest.raises(SettingsError, match=r"\ACOUNTERS must be \* or names and patterns .*\Z"):
        settings.read({"STAGE": "dev", "COUNTERS": text})


def test_counters_that_no_function_could_have_are_refused():
    """AWS limits all variables of a function to 4 KB together, and would refuse the deployment halfway."""
    longest = ",".join(["x" * 59] * 50)

    assert len(settings.read({"STAGE": "dev", "COUNTERS": longest}).counters or ()) == 1
    with pytest.raises(SettingsError, match=r"\ACOUNTERS must be at most 3000 characters, got 3001: use patterns .*\Z"):
        settings.read({"STAGE": "dev", "COUNTERS": f"{longest},y"})


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///some/file",
        "sqlite:////a:b@c/file",
        "postgresql+psycopg://counter@host:5432/counter",
        "postgresql+psycopg://counter@/counter?host=/run/postgresql",
        "postgresql+psycopg://counter@/counter?host=/run/postgresql&options=-c%20a:b",
        "postgresql+psycopg://counter@[::1]:5432/counter",
        "postgresql+psycopg://counter@[::1]/counter",
        "postgresql+psycopg://counter@host:5432?options=-c%20a:b",
        "postgresql+psycopg://host/counter",
        "auroradsql+psycopg://counter@abc.dsql.eu-west-1.on.aws/postgres",
    ],
)
def test_each_database_has_its_address_and_its_projection_a_queue(url):
    found = settings.read({"STAGE": "dev", "SQL_URL": url})

    assert found.sql_url == found.sql_reader_url == url
    assert found.projections == (READ_MODEL, SQL)


def test_readers_use_sql_url_unless_sql_reader_url_is_set():
    written = {"STAGE": "dev", "SQL_URL": "postgresql+psycopg://counter@host/counter"}
    reader = "postgresql+psycopg://reader@host/counter"

    assert settings.read({"STAGE": "dev"}).sql_reader_url == ""
    assert settings.read(written).sql_reader_url == written["SQL_URL"]
    assert settings.read({**written, "SQL_READER_URL": reader}).sql_reader_url == reader


def test_sql_reader_without_sql_url_is_refused_unless_empty():
    assert settings.read({"STAGE": "dev", "SQL_READER_URL": ""}).sql_reader_url == ""

    with pytest.raises(SettingsError, match="SQL_READER_URL requires SQL_URL"):
        settings.read({"STAGE": "dev", "SQL_READER_URL": "sqlite:///file"})


@pytest.mark.parametrize("reader", ["sqlite:///file", "auroradsql+psycopg://reader@abc.dsql.eu-west-1.on.aws/postgres"])
def test_sql_reader_must_use_the_kind_of_database_that_is_written(reader):
    writer = "postgresql+psycopg://counter@host/counter"

    with pytest.raises(SettingsError, match=r"SQL_READER_URL must begin with postgresql\+psycopg://, like SQL_URL"):
        settings.read({"STAGE": "dev", "SQL_URL": writer, "SQL_READER_URL": reader})


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", "*"),
        ("https://counter.example", "https://counter.example"),
        ("https://counter.example/", "https://counter.example"),
        ("HTTPS://Counter.Example", "https://counter.example"),
        ("https://counter.example:443", "https://counter.example"),
        ("http://counter.example:80/", "http://counter.example"),
        ("http://counter.example:443", "http://counter.example:443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://a.example,http://localhost:8080", "https://a.example http://localhost:8080"),
        ("https://B.example:443/,https://a.example", "https://b.example https://a.example"),
        ("https://a.example,HTTPS://A.EXAMPLE", "https://a.example"),
    ],
)
def test_allowed_origins_are_read_as_browsers_send_them(text, origins):
    assert settings.read({"STAGE": "dev", "ALLOWED_ORIGIN": text}).allowed_origin == tuple(origins.split())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "counter.example",
        "https://",
        "https://counter.example/page",
        "https://counter.example//",
        "https://counter.example?",
        "https://ann@counter.example",
        "https://counter.example:port",
        "https://a.example,",
        "https://a.example, https://b.example",
        "https://a.example https://b.example",
        "https://a.example,null",
        "*,https://a.example",
        "https://a.example,*",
        "https://*.example",
        "https://zähler.example",
        " https://counter.example",
        "https://counter.example\n",
        "https://'.example",
        "null",
    ],
)
def test_allowed_origin_other_than_origins_is_refused(text):
    with pytest.raises(
        SettingsError, match=r"ALLOWED_ORIGIN must be \* or origins separated by commas, such as https://"
    ):
        settings.read({"STAGE": "dev", "ALLOWED_ORIGIN": text})


@pytest.mark.parametrize(
    "url",
    [
        "counter",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://file",
        "sqlite:///file?timeout=never",
        "sqlite:///a%00b",
        "sqlite:///a\nb",
        " sqlite:///file",
        "postgres://counter@host/counter",
        "postgresql://counter@host/counter",
        "postgresql+psycopg:host",
        "postgresql+psycopg://a@b@host/counter",
        "postgresql+psycopg://[::1/counter",
        "postgresql+psycopg://host/a\tb",
        "auroradsql+psycopg://counter@/postgres",
        "auroradsql+psycopg://counter@localhost/postgres",
        *(
            f"postgresql+psycopg://{host}:{port}/counter"
            for host in ("host", "counter@host", "counter@[::1]", "counter@")
            for port in ("abc", "", "123456", "-1", "٣", "5432,other:5432")
        ),
    ],
)
def test_malformed_address_is_refused_by_name(url):
    with pytest.raises(SettingsError, match="SQL_URL must be sqlite"):
        settings.read({"STAGE": "dev", "SQL_URL": url})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STAGE", ""),
        ("STAGE", "Prod"),
        ("STAGE", "a" * 21),
        ("STAGE", "dev-publish"),
        ("STAGE", "dev-sql"),
        ("MAX_INCREMENT", "0"),
        ("MAX_INCREMENT", "many"),
        ("MAX_INCREMENT", str(2**53)),
        ("SHARDS", "0"),
        ("SHARDS", "65"),
        ("SHARDS", "-1"),
        ("BATCHING_WINDOW_S", "301"),
        ("BATCHING_WINDOW_S", "1.5"),
        ("PROJECTORS", "1"),
        ("PROJECTORS", "1001"),
        ("PROJECTORS", ""),
        ("EXPENSIVE_READS_PER_S", "0"),
        ("RESERVED_PUBLISH", "0"),
        ("RESERVED_PUBLISH", ""),
        ("ACCESS_LOG", "yes"),
        ("FRONT", ""),
        ("FRONT", "rest,rest"),
        ("FRONT", "cloudfront"),
        ("FRONT_SECRETS", DIGEST),  # the REST API does not check it
        ("CDN", "cloudfront"),  # the same
        ("CDN", "cloudflare"),
        ("CDN", ""),
        ("RESERVED_API", "0"),
        ("WAF", "9"),
        ("WAF", "2000000001"),
        ("WAF", ""),
        ("LOG_LEVEL", "debug"),
        ("SDK", "mine"),
        ("LOG_LEVEL", ""),
        ("SQL_URL", "mysql://counter@host/counter"),
        ("SQL_URL", "postgresql+psycopg://counter:secret@host/counter"),
        ("SQL_URL", "postgresql+psycopg://counter@host/counter?password=secret"),
        ("SQL_URL", "counter.sqlite"),
        ("SQL_READER_URL", "counter.sqlite"),
        ("SQL_READER_URL", "postgresql+psycopg://reader:secret@host/counter"),
    ],
)
def test_a_variable_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        settings.read({"STAGE": "dev", "SQL_URL": "sqlite:///file", name: value})


@pytest.mark.parametrize(
    ("front", "name", "value"),
    [
        ("url", "WRITERS", "api-key"),
        ("http", "READERS", "iam"),
        ("rest,url", "WRITERS", "iam"),
        ("url", "WAF", "100"),
        ("http", "ACCESS_LOG", "1"),
        ("url,http", "EXPENSIVE_READS_PER_S", "10"),
        ("url", "REQUESTS_PER_S", "10"),
        ("url", "FRONT_SECRETS", "secret"),
        ("url", "FRONT_SECRETS", DIGEST.upper()),
        ("url", "FRONT_SECRETS", ",".join([DIGEST] * 5)),
        ("url", "FRONT_SECRETS", f"{DIGEST},"),
    ],
)
def test_setting_that_a_front_cannot_honor_is_refused_by_name(front, name, value):
    """A restriction that is ignored would leave the API open."""
    with pytest.raises(SettingsError, match=name):
        settings.read({"STAGE": "dev", "FRONT": front, name: value})


@pytest.mark.parametrize(
    ("front", "name", "value"),
    [
        ("rest,url", "WAF", "100"),
        ("url,rest", "EXPENSIVE_READS_PER_S", "10"),
        ("http", "REQUESTS_PER_S", "10"),
        ("url", "ACCESS_LOG", "0"),
        ("url", "WRITERS", "anyone"),
        ("rest,http", "FRONT_SECRETS", f"{DIGEST},{DIGEST[::-1]}"),
        ("url", "RESERVED_API", "5"),
        ("url", "CDN", "cloudfront"),
        ("rest,http", "CDN", "cloudfront"),
    ],
)
def test_setting_that_a_front_honors_is_accepted(front, name, value):
    found = settings.read({"STAGE": "dev", "FRONT": front, name: value})

    assert ",".join(found.front) == front


def test_cdn_of_the_local_stage_is_refused():
    with pytest.raises(SettingsError, match="CDN must be none in stage local"):
        settings.read({"STAGE": "local", "FRONT": "url", "CDN": "cloudfront"})
