"""The password of a secret, the token of a role."""

import json
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from redis import CredentialProvider

from keyturn import errors
from keyturn.adapters.redis.credentials import ElastiCacheToken, StoredPassword, is_serverless
from keyturn.adapters.redis.sessions import RedisSessions
from keyturn.sessions import store as session_store
from local.processes import Processes
from local.redis_server import RedisServer, find_binary
from local.secrets_manager import AwsError
from tests.aws_signatures import KEY_ID, SECRET_KEY, SESSION_TOKEN, Credentials, signature
from tests.contract.secrets_manager_account import REGION, Account, open_account
from tests.contract.secrets_manager_endpoint import Front, open_endpoint
from tests.contract.session_stores import DATABASE, purge_all, settings_of
from tests.every_case import every_case

PASSWORD = secrets.token_hex(12)
CACHE, USER = "Session-Store", "keyturn"


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture(scope="module")
def endpoint(processes: Processes) -> Iterator[tuple[Front, str]]:
    """A local AWS, with each test's own account behind it."""
    with open_endpoint(processes) as endpoint:
        yield endpoint


@pytest.fixture
def front(endpoint: tuple[Front, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    front, url = endpoint
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    front.requests.clear()
    with open_account() as account:
        front.account, front.fault = account, None
        yield front


@pytest.fixture
def account(front: Front) -> Account:
    assert front.account
    return front.account


# A password in a secret


@pytest.mark.parametrize(
    ("stored", "user", "found"),
    [
        (PASSWORD, "", (PASSWORD,)),
        (PASSWORD, USER, (USER, PASSWORD)),
        (json.dumps({"password": PASSWORD}), "", (PASSWORD,)),
        (json.dumps({"password": PASSWORD}), USER, (USER, PASSWORD)),
        (json.dumps({"username": "from-it", "password": PASSWORD}), "", ("from-it", PASSWORD)),
        (json.dumps({"username": "from-it", "password": PASSWORD}), USER, (USER, PASSWORD)),
        (json.dumps({"host": "x", "port": 1, "password": PASSWORD}), "", (PASSWORD,)),
        ("123456", "", ("123456",)),
        ("[not json", "", ("[not json",)),
        ('"quoted"', "", ('"quoted"',)),
        ("with spaces and\nlines", "", ("with spaces and\nlines",)),
    ],
    ids=[str(number) for number in range(11)],  # the same in every process: a password is not
)
def test_a_password_is_read_as_text_or_from_its_field(
    stored: str, user: str, found: tuple[str, ...], account: Account
) -> None:
    account.put(stored)
    assert StoredPassword(account.arn, user).get_credentials() == found


@pytest.mark.parametrize(
    "stored",
    [
        "{}",
        json.dumps({"username": "hunter2"}),
        json.dumps({"password": ""}),
        json.dumps({"password": None, "token": "hunter2"}),
        json.dumps({"password": 271828}),
        json.dumps({"password": ["hunter2"]}),
    ],
)
def test_a_secret_without_a_password_is_refused_and_not_quoted(
    stored: str, account: Account
) -> None:
    account.put(stored)
    with pytest.raises(errors.SessionStoreRefused, match="field `password`") as no:
        StoredPassword(account.arn, "").get_credentials()
    assert "hunter2" not in f"{no.value!r} {no.value.__cause__!r}"
    assert "271828" not in str(no.value)


def test_a_password_that_was_changed_is_followed(account: Account) -> None:
    account.put(PASSWORD)
    provider = StoredPassword(account.arn, "")
    assert provider.get_credentials() == (PASSWORD,)
    account.put("another")
    assert provider.get_credentials() == ("another",)


def test_a_secret_that_does_not_exist_or_has_no_value_is_named(account: Account) -> None:
    missing = account.arn.replace("app", "gone")
    with pytest.raises(errors.SessionStoreRefused, match="does not exist or has no value") as no:
        StoredPassword(missing, "").get_credentials()
    assert missing in str(no.value)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AccessDeniedException", errors.AccessDenied),
        ("InternalServiceError", errors.SecretsManagerUnavailable),
    ],
)
def test_what_secrets_manager_answers_instead_is_ours_and_not_quoted(
    code: str, error: type[errors.KeyturnError], front: Front, account: Account
) -> None:
    provider = StoredPassword(account.arn, "")
    front.fault = AwsError(code, "hunter2")
    with pytest.raises(error, match="secretsmanager:GetSecretValue") as told:
        provider.get_credentials()
    assert account.arn in str(told.value)
    assert "hunter2" not in str(told.value)


def test_a_provider_shows_no_password(account: Account) -> None:
    account.put(PASSWORD)
    provider = StoredPassword(account.arn, USER)
    provider.get_credentials()
    assert PASSWORD not in f"{provider!r} {vars(provider)!r}"


# A token of a role


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    return Credentials(monkeypatch)


def parts(token: str) -> tuple[str, str, dict[str, str]]:
    """The host, the path and the parameters of a token, each once."""
    split = urlsplit(f"//{token}")
    pairs = parse_qsl(split.query, strict_parsing=True, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return split.netloc, split.path, dict(pairs)


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1", "cn-north-1"])
@pytest.mark.parametrize("session_token", [SESSION_TOKEN, None], ids=["role", "user"])
def test_a_token_is_what_a_signature_by_hand_gives(
    region: str, session_token: str | None, credentials: Credentials
) -> None:
    credentials.be_in(region)
    if session_token is None:
        credentials.be_gone("AWS_SESSION_TOKEN")
    user, token = ElastiCacheToken(CACHE, "keyturn+1").get_credentials()
    query = signature(
        "elasticache",
        region,
        {"host": "session-store"},
        {"Action": "connect", "User": "keyturn+1", "X-Amz-Expires": "900"},
        session_token,
    )
    assert user == "keyturn+1"
    assert parts(token) == parts(f"session-store/?{query}")


def test_a_token_names_the_cache_in_small_letters_and_has_no_scheme(
    credentials: Credentials,
) -> None:
    _, token = ElastiCacheToken(CACHE, USER).get_credentials()
    assert token.startswith("session-store/?Action=connect&User=keyturn&")
    assert parts(token)[2]["X-Amz-Expires"] == "900"
    assert SECRET_KEY not in token


@every_case(
    ("host", "serverless"),
    [
        ("sessions-ab12cd.serverless.euc1.cache.amazonaws.com", True),
        ("Sessions-AB12CD.Serverless.EUC1.cache.amazonaws.com", True),
        ("sessions-ab12cd.serverless.cnn1.cache.amazonaws.com.cn", True),
        ("master.sessions.ab12cd.euc1.cache.amazonaws.com", False),
        ("clustercfg.sessions.ab12cd.euc1.cache.amazonaws.com", False),
        # The replication group's own name is not a kind of cache.
        ("master.serverless.ab12cd.euc1.cache.amazonaws.com", False),
        ("serverless.ab12cd.ng.0001.euc1.cache.amazonaws.com", False),
        ("redis.serverless.example.com", False),
        ("serverless", False),
        ("10.0.0.1", False),
    ],
)
def test_a_serverless_cache_is_known_by_its_endpoint(host: str, serverless: bool) -> None:
    assert is_serverless(host) is serverless


@pytest.mark.usefixtures("at_noon")
def test_a_token_for_a_serverless_cache_names_its_type_in_what_is_signed(
    credentials: Credentials,
) -> None:
    credentials.be_in("eu-central-1")
    _, token = ElastiCacheToken(CACHE, USER, serverless=True).get_credentials()
    query = signature(
        "elasticache",
        "eu-central-1",
        {"host": "session-store"},
        {
            "Action": "connect",
            "ResourceType": "ServerlessCache",
            "User": USER,
            "X-Amz-Expires": "900",
        },
        SESSION_TOKEN,
    )
    assert parts(token) == parts(f"session-store/?{query}")


def test_every_token_is_made_of_the_credentials_of_its_moment(credentials: Credentials) -> None:
    provider = ElastiCacheToken(CACHE, USER)
    assert KEY_ID in provider.get_credentials()[1]
    credentials.be("AKIDRENEWED", secrets.token_urlsafe(30), "renewed")
    assert "AKIDRENEWED" in provider.get_credentials()[1]
    credentials.be_gone()
    with pytest.raises(errors.AccessDenied, match="execution role"):
        provider.get_credentials()
    assert SECRET_KEY not in f"{provider!r} {vars(provider)!r}"


# On a real server


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest, processes: Processes) -> Iterator[RedisServer]:
    """A server that has sessions in two databases, and lets in whoever does not log in."""
    if find_binary(request.param) is None:
        pytest.skip(f"no {request.param}-server")
    with RedisServer(processes, product=request.param) as server:
        with server.client() as client:
            acl: Any = client.acl_setuser
            acl(USER, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"])
        yield server


@pytest.fixture
def filled(server: RedisServer) -> RedisServer:
    for database in (0, DATABASE):
        with server.client(database) as client:
            client.flushdb()
            client.mset({f"session:{number}": "x" for number in range(20)})
    return server


def size(server: RedisServer, database: int) -> int:
    with server.client(database) as client:
        return int(client.dbsize())


def store_of(server: RedisServer, provider: CredentialProvider) -> RedisSessions:
    return RedisSessions(settings_of(server.host, server.port), provider)


def test_a_purge_logs_in_with_the_password_of_the_secret(
    filled: RedisServer, account: Account
) -> None:
    account.put(PASSWORD)
    store = store_of(filled, StoredPassword(account.arn, USER))
    session_store.check_ready(store, flush=False)
    assert purge_all(store)["deleted"] == 20
    assert size(filled, 0) == 20


def test_a_password_that_redis_does_not_take_is_refused_and_not_quoted(
    filled: RedisServer, account: Account
) -> None:
    account.put("hunter2")
    store = store_of(filled, StoredPassword(account.arn, USER))
    with pytest.raises(errors.SessionStoreRefused, match="RedisPasswordSecret") as no:
        session_store.check_ready(store, flush=False)
    assert "hunter2" not in str(no.value)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AccessDeniedException", errors.AccessDenied),
        ("InternalServiceError", errors.SecretsManagerUnavailable),
        ("ResourceNotFoundException", errors.SessionStoreRefused),
    ],
)
def test_an_error_of_the_credentials_leaves_no_connection_half_made(
    code: str,
    error: type[errors.KeyturnError],
    filled: RedisServer,
    front: Front,
    account: Account,
) -> None:
    """One that is open and has chosen no database would purge database 0."""
    account.put(PASSWORD)
    store = store_of(filled, StoredPassword(account.arn, USER))
    front.fault = AwsError(code, "hunter2")
    for _ in range(2):
        with pytest.raises(error, match="secret"):
            purge_all(store)
        assert size(filled, 0) == size(filled, DATABASE) == 20
    front.fault = None
    assert purge_all(store)["deleted"] == 20
    assert (size(filled, 0), size(filled, DATABASE)) == (20, 0)


def test_a_role_without_credentials_is_told_as_it_is(
    filled: RedisServer, credentials: Credentials
) -> None:
    credentials.be_gone()
    store = store_of(filled, ElastiCacheToken(CACHE, USER))
    for _ in range(2):
        with pytest.raises(errors.AccessDenied, match="execution role"):
            purge_all(store)
    assert size(filled, 0) == size(filled, DATABASE) == 20
