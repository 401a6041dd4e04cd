"""What comes back after a rotation: the watch finds it, by those who can look, and tells of it."""

from datetime import timedelta

from keyturn.secret import key
from local import console, returning_key
from tests.e2e.site import Site
from tests.e2e.watch_looks import daily_look, frequent_look


def concerns(site: Site, ahead: timedelta = timedelta()) -> list[str]:
    return [one["concern"] for one in frequent_look(site, ahead)]


def settle(site: Site) -> None:
    """Wait until no pod of before the change is left, whatever has changed the templates."""
    site.stack.wait(lambda: len({*site.keys_in_use()}) == 1, "all pods run one key")


def test_an_exposed_key_that_comes_back_is_reported_as_critical(
    site: Site,
) -> None:
    old = site.document()[key.FIELD]
    rotation_id = site.rotate(ClientRequestToken=f"emergency-{'0' * 8}-back-and-forth-of-gitops")
    site.promoted(rotation_id)
    assert site.end(rotation_id).output["outcome"] == "succeeded"
    assert concerns(site) == []
    site.stack.place.write(old)
    returning_key.strip(site.stack)
    assert concerns(site)[0] == "EXPOSED_KEY_DELIVERED"
    told = [mail for mail in site.mailboxes.messages() if mail["Subject"] == returning_key.SUBJECT]
    assert told
    assert f"rot-{rotation_id}-$(uuidgen" in told[-1]["Message"]
    assert site.run_again(rotation_id).output["outcome"] == "succeeded"
    settle(site)
    assert concerns(site) == []


def test_another_key_is_drift_and_pods_without_a_stamp_are_told_once_a_day(site: Site) -> None:
    assert site.rotate_to_end().status == "SUCCEEDED"
    kept = site.delivered()
    site.stack.place.write(key.generate_key().base64)
    assert "DELIVERED_DRIFTED" in concerns(site)
    site.stack.place.write(kept)
    returning_key.strip(site.stack)
    site.stack.wait(lambda: concerns(site) == ["PODS_UNSTAMPED"], "every pod has lost its stamp")
    # The daily check asks the services for their health too, so their rollout has to be over.
    site.stack.wait(lambda: all(map(site.rolled_out, console.REPLICAS)), "every pod is ready")
    found = daily_look(site)
    assert [one["concern"] for one in found] == ["PODS_UNSTAMPED"]
    assert found[0]["told"]["topic"] == "told"
