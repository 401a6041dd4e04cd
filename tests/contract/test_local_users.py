"""Users who log in by the thousand, and visitors who stay and see what happens to them."""

import asyncio
from collections.abc import Iterator

import pytest

from local.browser import UnexpectedAnswerError
from local.traffic import Visitors
from local.users import Bulk, can_open_page, log_in, log_in_once
from tests.local_services import Stack, free_port, new_key, running_stack, wait_for


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as stack:
        yield stack


def sessions_in_redis(stack: Stack) -> int:
    with stack.redis.client(db=1) as redis:
        return len(list(redis.scan_iter("session:*", count=1000)))


def forget_all_sessions(stack: Stack) -> None:
    with stack.redis.client(db=1) as redis:
        redis.flushdb()


def test_users_log_in_over_http(stack: Stack) -> None:
    forget_all_sessions(stack)
    progress: list[int] = []
    logins = log_in(50, stack.console, on_progress=progress.append)
    assert (logins.over_http, logins.bulk) == (50, 0)
    assert len(set(logins.cookies)) == 50 == sessions_in_redis(stack)
    assert progress == list(range(1, 51))


def test_users_above_the_limit_get_sessions_in_bulk_that_work_as_well(stack: Stack) -> None:
    forget_all_sessions(stack)
    progress: list[int] = []
    with stack.redis.client(db=1) as redis:
        bulk = Bulk(redis, stack.key)
        logins = log_in(1210, stack.console, bulk=bulk, over_http=10, on_progress=progress.append)
        assert 0 < int(str(redis.ttl(f"session:{logins.cookies[-1]}"))) <= 8 * 3600
    assert (logins.over_http, logins.bulk) == (10, 1200)
    assert len(set(logins.cookies)) == 1210 == sessions_in_redis(stack)
    assert can_open_page(stack.console, logins.cookies[0])
    assert can_open_page(stack.console, logins.cookies[-1])
    assert progress[-3:] == [510, 1010, 1210]


def test_more_users_than_log_in_over_http_need_bulk() -> None:
    with pytest.raises(ValueError, match="3 users need bulk: only 2 log in over HTTP"):
        log_in(3, "http://127.0.0.1:1", over_http=2)


def test_what_bulk_needs_is_not_shown(stack: Stack) -> None:
    with stack.redis.client(db=1) as redis:
        assert repr(Bulk(redis, stack.key)) == "Bulk(...)"


def test_nobody_logging_in_is_no_error(stack: Stack) -> None:
    assert log_in(0, stack.console).cookies == []


def test_a_login_that_fails_ends_the_logins_with_the_reason() -> None:
    nobody_there = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnexpectedAnswerError, match="connection failed"):
        log_in(20, nobody_there)
    with pytest.raises(UnexpectedAnswerError, match="connection failed"):
        can_open_page(nobody_there, "x")


def test_a_refused_cookie_and_a_new_login_are_told_apart(stack: Stack) -> None:
    cookie = log_in_once(stack.console)
    forget_all_sessions(stack)
    assert not can_open_page(stack.console, cookie)
    assert can_open_page(stack.console, log_in_once(stack.console))


def test_logins_do_not_need_the_event_loop_of_the_caller(stack: Stack) -> None:
    async def inside_a_loop() -> int:
        return len((await asyncio.to_thread(log_in, 3, stack.console)).cookies)

    assert asyncio.run(inside_a_loop()) == 3


def test_visitors_report_pages_while_nothing_happens(stack: Stack) -> None:
    cookies = log_in(3, stack.console).cookies
    with Visitors(stack.console, cookies, pause_seconds=0.01) as visitors:
        wait_for(lambda: visitors.report().pages >= 30, "pages")
    report = visitors.report()
    assert (report.logged_out, report.logged_in_again, report.failed) == (0, 0, 0)


def test_visitors_who_are_logged_out_log_in_again_once_each(stack: Stack) -> None:
    cookies = log_in(3, stack.console).cookies
    with Visitors(stack.console, cookies, pause_seconds=0.01) as visitors:
        wait_for(lambda: visitors.report().pages >= 3, "pages")
        forget_all_sessions(stack)
        wait_for(lambda: visitors.report().logged_in_again >= 3, "new logins")
        pages = visitors.report().pages
        wait_for(lambda: visitors.report().pages >= pages + 6, "more pages")
    report = visitors.report()
    assert (report.logged_out, report.logged_in_again, report.failed) == (3, 3, 0)


def test_visitors_report_failures_with_time_and_reason_and_go_on(stack: Stack) -> None:
    cookies = log_in(2, stack.console).cookies
    with Visitors(stack.console, cookies, pause_seconds=0.01) as visitors:
        wait_for(lambda: visitors.report().pages >= 4, "pages")
        assert stack.running["web_console"].end() == 0
        wait_for(lambda: visitors.report().failed >= 2, "failures")
        stack.start("web_console")
        pages = visitors.report().pages
        wait_for(lambda: visitors.report().pages > pages, "pages again")
    report = visitors.report()
    assert report.logged_out == 0
    assert all("connection" in failure.reason for failure in report.failures)
    assert all(failure.at > 1.7e9 for failure in report.failures)


def test_users_keep_their_sessions_through_a_restart_under_the_same_key(stack: Stack) -> None:
    cookie = log_in_once(stack.console)
    stack.restart_with(stack.key, "web_console")
    assert can_open_page(stack.console, cookie)


def test_visitors_who_never_started_can_be_closed(stack: Stack) -> None:
    visitors = Visitors(stack.console, ["x"])
    visitors.close()
    visitors.close()
    assert visitors.report().pages == 0


def test_a_session_written_in_bulk_under_a_wrong_key_is_refused(stack: Stack) -> None:
    with stack.redis.client(db=1) as redis:
        logins = log_in(1, stack.console, bulk=Bulk(redis, new_key()), over_http=0)
    assert not can_open_page(stack.console, logins.cookies[0])
