"""Whose viewing a row is."""

from __future__ import annotations

from contracts.fleet import Appliance, Fleet, PublicKey, Site, Tier
from fill.popularity.units import client_networks, reporters


def site(
    name: str, *prefixes: str, tier: Tier = Tier.ISP, url: str = "http://a.example.net", bps: int = 8000
) -> Site:
    box = Appliance(f"{name}-1", url, 1, bps, PublicKey("OKP", "Ed25519", "A" * 43))
    return Site(name, tier, prefixes, (box,))


def networks(*sites: Site) -> dict[str, str]:
    return client_networks(Fleet(sites))


def test_a_network_of_the_log_is_the_sites_that_announces_most_of_it() -> None:
    found = networks(
        site("half", "10.1.0.0/17"),
        site("small", "10.1.128.0/24", "10.1.129.0/24"),
        site("wide", "10.2.0.0/15"),
        site("six", "2001:db8::/40", "2001:dba::/31"),
    )
    assert found == {
        "10.1.0.0/16": "half",
        "10.2.0.0/16": "wide",
        "10.3.0.0/16": "wide",
        "2001:db8::/32": "six",
        "2001:dba::/32": "six",
        "2001:dbb::/32": "six",
    }


def test_among_equals_the_site_that_can_serve_more_has_the_viewers() -> None:
    assert (
        networks(site("slow", "10.1.0.0/16"), site("fast", "10.1.0.0/16", bps=9000))["10.1.0.0/16"] == "fast"
    )


def test_an_exchange_has_no_viewers_by_prefix_but_pulls_from_where_it_stands() -> None:
    ixp = site("ixp", "0.0.0.0/0", tier=Tier.IXP, url="http://192.0.2.10:8080")
    assert networks(ixp, site("isp", "10.1.0.0/16")) == {"192.0.0.0/16": "ixp", "10.1.0.0/16": "isp"}
    assert networks(ixp, site("isp", "192.0.0.0/16")) == {"192.0.0.0/16": "isp"}


def test_everything_is_written_out_in_bounds_and_a_whole_internet_of_ipv6_is_nobodys() -> None:
    assert len(networks(site("lab", "0.0.0.0/0", "::/0"))) == 65536


def test_a_row_may_hold_four_times_what_its_appliance_serves_in_a_minute() -> None:
    isp, ixp = reporters(Fleet((site("isp"), site("ixp", tier=Tier.IXP, bps=10**15))))
    assert (isp.site, isp.upper, isp.limit_bytes) == ("isp", False, 8000 * 60 // 8 * 4)
    assert (ixp.upper, ixp.limit_bytes) == (True, 4 * 10**12)
